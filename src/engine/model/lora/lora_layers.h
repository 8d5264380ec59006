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

/* Gives a parameter the next place of the flat arrays. */
extern void adapter_place(Adapter *adapter, Parameter *parameter);

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

/* Forward: scale A dropout(x) for the maps of an input, then for each of them
 * out += B times that. */
extern void lora_make_low(Pass *pass, LoraInput *input, Tensor x);
extern void lora_add(Pass *pass, const Lora *lora, Tensor out);

/* Backward: the gradient of each B, then those of the input's A, then, behind
 * what the weights give, dx += ... */
extern void lora_accumulate_b(Pass *pass, const Lora *lora, Tensor dout);
extern void lora_accumulate_a(Pass *pass, LoraInput *input, Tensor x);
extern void lora_input_gradient(Pass *pass, LoraInput *input, Tensor dx);

/* Places the adapter's scratch of a pass over so many tokens. */
extern void lora_plan(Plan *plan, const Adapter *adapter, int64_t tokens,
                      bool keeps_state, LoraPass *lora);
/* The tokens' keys from those of the batch's sequences, on their way as a
 * shared batch. */
extern bool lora_set_keys(Pass *pass, const Batch *batch,
                          const SharedBatch *shared, const DropoutKeys *keys,
                          Failure *failure);
