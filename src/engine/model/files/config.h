/*
 * config.h
 *		config.json, and what the files of each architecture call things.
 */
#pragma once

#include "formats/json.h"
#include "model/model.h"

typedef struct Architecture Architecture;

/* Fills what is peculiar to an architecture into a zeroed configuration. */
typedef bool (*ConfigParser)(const json_t *json, ModelConfig *config,
                             Failure *failure);

/* Names in the files of one architecture, and how to read its config. */
struct Architecture
{
	const char *name;       /* model_type */
	const char *class_name; /* in "architectures", of what it is mostly */
	ConfigParser parse;
	const char *prefixes[2]; /* in front of names, tried in turn */
	const char *embedding;
	const char *position; /* NULL: rotary */
	const char *type;     /* the table of token types */
	const char *embedding_norm;
	const char *distance; /* the table of distances, where config.distances */
	const char *distance_norm;
	const char *distance_query; /* maps of their own */
	const char *distance_key;
	const char *layer; /* "layers.%d." */
	const char *attention_norm;
	const char *qkv; /* NULL: q, k and v apart */
	const char *q;
	const char *k;
	const char *v;
	const char *q_norm; /* used where config.head_norm */
	const char *k_norm;
	const char *out;
	const char *mlp_norm;
	const char *gate;
	const char *up;
	const char *down;
	const char *final_norm;
	const char *head;       /* where it is not tied; no prefix */
	const char *pooler;     /* of the body, under a classifier that has no */
	const char *dense;      /* first map of its own; no prefix */
	const char *classifier; /* its last map; no prefix */
	bool transposed;        /* linear weights are stored [inputs, outputs] */
};

/* The architecture of that name, or NULL. */
extern const Architecture *architecture_find(const char *name);

/* Reads directory/config.json (and generation_config.json) or a text. */
extern bool config_open(Arena *arena, const char *directory,
                        ModelConfig *config, Failure *failure);
extern bool config_parse(Arena *arena, const char *text, size_t length,
                         ModelConfig *config, Failure *failure);
extern bool config_read(Arena *arena, const json_t *json, ModelConfig *config,
                        Failure *failure);

/* How many tokens a layer's attention sees back, itself counted; 0: all. */
extern int config_window(const ModelConfig *config, int layer);

/* ------------------------------------- members of config.json, checked */

/* An integer in [min, max]; a fallback below min means that it is required. */
extern bool config_int(const json_t *json, const char *key, int fallback,
                       int min, int max, int *value, Failure *failure);
extern bool config_float(const json_t *json, const char *key, double fallback,
                         double min, double max, double *value,
                         Failure *failure);
extern bool config_bool(const json_t *json, const char *key, bool fallback,
                        bool *value, Failure *failure);
extern bool config_activation(const json_t *json, const char *key,
                              const char *fallback, Activation *activation,
                              Failure *failure);

/*
 * Base, scaling and width of the rotation of each head, whose size is known.
 * is_partial: the file says which part of the head rotates (GPT-NeoX).
 */
extern bool config_rotation(const json_t *json, bool is_partial,
                            ModelConfig *config, Failure *failure);
