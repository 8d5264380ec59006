/*
 * lora_target.h
 *		Which linear maps an adapter changes: names as PEFT matches them.
 *
 * A list names modules whole or by what follows a dot ("q_proj" is every
 * "....q_proj"); a string is a regular expression for whole names, or
 * "all-linear".  Rank and alpha may differ by patterns, each an expression
 * for the end of a name that begins at a dot.
 */
#pragma once

#include "formats/json.h"

typedef struct TargetRule TargetRule;

/* From a list or a string, which must outlive the rule; what names it in
 * messages ("target_modules").  Lives in arena. */
extern bool target_rule_open(Arena *arena, const json_t *targets,
                             const char *what, TargetRule **rule,
                             Failure *failure);

extern bool target_rule_matches(TargetRule *rule, const char *module,
                                bool *matches, Failure *failure);

/* An entry of the list that has matched nothing so far, or NULL. */
extern const char *target_rule_unused(const TargetRule *rule);

typedef struct TargetPatterns TargetPatterns;

/* From an object of patterns and values, NULL being an empty one. */
extern bool target_patterns_open(Arena *arena, const json_t *object,
                                 const char *what, TargetPatterns **patterns,
                                 Failure *failure);

/* The value of the first pattern that fits the module, or NULL. */
extern bool target_patterns_find(const TargetPatterns *patterns,
                                 const char *module, const json_t **value,
                                 Failure *failure);
