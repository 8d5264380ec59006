/*
 * lora_layers.h
 *		What adapters and the layers that they change know of each other.
 */
#pragma once

#include "model/layers.h"

/* What transformers calls the map: "model.layers.0.mlp.up_proj". */
extern const char *linear_module(const Model *model, const Linear *linear);

/* Rank and alpha of a map; rank 0: not changed. */
typedef struct LoraShape
{
	int rank;
	double alpha;
} LoraShape;

typedef bool (*LoraChooser)(void *argument, const char *module,
                            LoraShape *shape, Failure *failure);

/* Makes the adapter, without values, the model's: A and B of every map in the
 * layers' order.  In the flat arrays each A follows those of its LoraInput. */
extern bool adapter_attach(Model *model, Adapter *adapter, LoraChooser choose,
                           void *argument, Failure *failure);

/* A new adapter of these options; lora_initialize() gives the first values
 * [first, first + count) of its parameter at index. */
extern bool lora_create(Model *model, const LoraOptions *options,
                        Failure *failure);
extern void lora_initialize(const Adapter *adapter, int index, int64_t first,
                            int64_t count, float *target);

/* Finds which A lie one after the other, where their values are now. */
extern void lora_join(Adapter *adapter);
/* Products read the matrices of an input's A in so many parts, each of these
 * rows of them. */
extern int lora_parts(const LoraInput *input);
extern Parameter *lora_part(LoraInput *input, int part, int *first);

/* out += scale B A dropout(x), in turn for each map of an input */
extern void lora_forward(Pass *pass, const Lora *lora, Tensor out, Tensor x);
/* dx += ... behind the last map of its input, and the gradients of A and B; dx
 * absent: those alone */
extern void lora_backward(Pass *pass, const Lora *lora, Tensor dx, Tensor dout,
                          Tensor x);

/* Places the adapter's scratch of a pass over so many tokens. */
extern void lora_plan(Plan *plan, const Adapter *adapter, int64_t tokens,
                      bool keeps_state, LoraPass *lora);
/* The tokens' keys from those of the batch's sequences, on their way as a
 * shared batch. */
extern bool lora_set_keys(Pass *pass, const Batch *batch,
                          const SharedBatch *shared, const DropoutKeys *keys,
                          Failure *failure);
