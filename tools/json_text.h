// tools/json_text.h - what jansson asks to be careful about: texts that may not be UTF-8, numbers that may not be
// signed.
#ifndef TARN_TOOLS_JSON_TEXT_H
#define TARN_TOOLS_JSON_TEXT_H

#include <jansson.h>
#include <stdint.h>

// Texts of a program are any bytes: those that are no UTF-8 become question marks. NULL becomes null.
json_t *json_text(const char *text);

// Numbers beyond 2^63 - 1 can only be damage: they are cut to that.
json_t *json_number(uint64_t number);

// `{` fields from the balance sheet.
struct balance;
void json_set_balance(json_t *object, const struct balance *balance);

// Compact, with a newline; takes `value`. To be freed.
char *json_print(json_t *value, size_t *length);

#endif
