// tools/json_text.c - see json_text.h.
#include "json_text.h"

#include "balance.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    char *ascii = memory_format("%s", text);
    for (char *byte = ascii; *byte != '\0'; byte++)
        if ((unsigned char)*byte >= 0x80)
            *byte = '?';
    value = json_string(ascii);
    free(ascii);
    return value;
}

json_t *json_number(uint64_t number)
{
    return json_integer(number <= INT64_MAX ? (json_int_t)number : INT64_MAX);
}

void json_set_balance(json_t *object, const balance_t *balance)
{
    for (size_t i = 0; i < balance_field_count; i++)
        json_object_set_new(object, balance_fields[i].name, json_number(balance_value(balance, &balance_fields[i])));
}

char *json_print(json_t *value, size_t *length)
{
    char *compact = json_dumps(value, JSON_COMPACT);
    char *text = memory_format("%s\n", compact != NULL ? compact : "null");
    json_decref(value);
    free(compact);
    *length = strlen(text);
    return text;
}
