/*
 * json.h
 *		JSON files and texts, read into jansson values that an arena owns.
 *
 * What is read here comes from strangers: sizes are limited, nesting is
 * bounded (by the library, 2048 levels), a key may appear only once in an
 * object, and every getter checks type and range.  A null counts as absent.
 */
#pragma once

#include "base/arena.h"

#include <jansson.h>

/* Large enough for any configuration; tokenizers and indexes name their own. */
#define JSON_CONFIG_SIZE ((size_t) 16 << 20)

/* Reads a file of at most max_size bytes.  *value lives as long as the arena
 * and must not be decref'd by the caller. */
extern bool json_open_file(Arena *arena, const char *path, size_t max_size,
                           json_t **value, Failure *failure);

/* The same for length bytes of text; what names it in messages. */
extern bool json_open_text(Arena *arena, const char *text, size_t length,
                           const char *what, json_t **value, Failure *failure);

/* Writes a value as a file of indented text. */
extern bool json_write_file(const json_t *value, const char *path,
                            Failure *failure);

/*
 * An integer, also one that is written 5.0 or 5e3.  false, without a failure,
 * if the value is NULL, no number, no integer, or beyond +-2^53.
 */
extern bool json_as_int(const json_t *value, int64_t *integer);

/* The member, or NULL if object is no object, lacks it, or has null there. */
extern json_t *json_member(const json_t *object, const char *key);

/* Members by key; fallback if absent.  Wrong types and values outside
 * [min, max] fail and name the key. */
extern bool json_get_int(const json_t *object, const char *key,
                         int64_t fallback, int64_t min, int64_t max,
                         int64_t *value, Failure *failure);
extern bool json_get_double(const json_t *object, const char *key,
                            double fallback, double min, double max,
                            double *value, Failure *failure);
extern bool json_get_bool(const json_t *object, const char *key, bool fallback,
                          bool *value, Failure *failure);

/* *value is borrowed from the object (or is the fallback). */
extern bool json_get_string(const json_t *object, const char *key,
                            const char *fallback, const char **value,
                            Failure *failure);

/* An object or an array, or NULL if absent. */
extern bool json_get_object(const json_t *object, const char *key,
                            json_t **value, Failure *failure);
extern bool json_get_array(const json_t *object, const char *key,
                           json_t **value, Failure *failure);

/* A new number, or null where it is not finite. */
extern json_t *json_number_or_null(double number);

/* "string", "array", ...: for messages. */
extern const char *json_type_name(const json_t *value);
