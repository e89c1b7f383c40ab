#!/bin/sh
# check_page.sh GROFF PAGE - fails when formatting the page draws a warning, or when its text lacks a section.
set -eu
text=$(mktemp)
trap 'rm -f "$text"' EXIT
warnings=$("$1" -mdoc -Tutf8 -P-bcou -ww "$2" 2>&1 >"$text")
if [ -n "$warnings" ]; then
    echo "$warnings"
    exit 1
fi
for section in NAME SYNOPSIS DESCRIPTION 'SEE ALSO'; do
    if ! grep -q "$section" "$text"; then
        echo "$2: no section $section"
        exit 1
    fi
done
