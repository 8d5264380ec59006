/*
 * json.h
 *		Small helpers to write and read the JSON heads of frames.
 *
 * Writing: text in the database's encoding into a StringInfo, to which the
 * caller adds braces.  Reading: members of a flat jsonb object.
 */
#pragma once

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* Each adds `"key": value`, with a comma in front when one is needed. */
extern void json_add_text(StringInfo json, const char *key, const char *value);
extern void json_add_int(StringInfo json, const char *key, int64 value);
extern void json_add_float(StringInfo json, const char *key, double value);
extern void json_add_bool(StringInfo json, const char *key, bool value);

/* The same with a value that is JSON already; NULL: null. */
extern void json_add_json(StringInfo json, const char *key, const char *value);

/* Appends a text as a JSON string, and nothing else. */
extern void json_append_text(StringInfo json, const char *value);

/* An object of numbers by name; NaN and infinities are null there. */
extern Jsonb *json_numbers(const char *const *names, const double *values,
                           int count);

/* A member of an object; NULL, or fallback, when it is absent, null or of
 * another type.  palloc'd. */
extern char *json_text(Jsonb *object, const char *key);
extern int64 json_int(Jsonb *object, const char *key, int64 fallback);
extern double json_float(Jsonb *object, const char *key, double fallback);
extern bool json_bool(Jsonb *object, const char *key, bool fallback);

/* A member that is an object or array, or NULL. */
extern Jsonb *json_member(Jsonb *object, const char *key);

/*
 * Shows each member of an object of options, null ones too, to visit(); raises
 * when it is no object.  value lives as long as options do.
 */
typedef void (*JsonOptionVisitor)(void *argument, const char *key,
                                  JsonbValue *value);
extern void json_visit_options(Jsonb *options, JsonOptionVisitor visit,
                               void *argument);

/* The text of an option, palloc'd; raises, naming the key, when it is none. */
extern char *json_option_text(JsonbValue *value, const char *key);
