# Group, count and reshape a list of records, as reports are made of logs.
group_by(.city)
| map({
    city: .[0].city,
    orders: (map(.orders | length) | add),
    total: (map(.orders[].price) | add),
    tags: (map(.tags[]) | group_by(.) | map({tag: .[0], count: length}) | sort_by(-.count, .tag) | .[:5]),
    names: (map(.name | ascii_upcase) | sort | .[:10] | join(", "))
  })
| sort_by(-.total, .city)
