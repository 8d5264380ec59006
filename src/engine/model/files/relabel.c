/*
 * relabel.c
 *		A classifier made of whatever a model is: which weights of its head are
 *		new, what they begin with, and what its config.json says.
 *
 * As transformers does with ...ForSequenceClassification.from_pretrained():
 * the body stays, maps of the head that are missing or of another shape are
 * drawn from normal(0, initializer_range), and their biases are 0.
 */
#include "model/lora/lora_layers.h"

#include "base/streams.h"

#include <string.h>

static int
list_head(const Model *model, Parameter *head[HEAD_PARAMETERS])
{
	Parameter *all[HEAD_PARAMETERS] = {model->pooler.weight, model->pooler.bias,
	                                   model->classifier.weight,
	                                   model->classifier.bias};
	int count = 0;

	for (int i = 0; i < HEAD_PARAMETERS; i++)
		if (all[i] != NULL)
			head[count++] = all[i];
	return count;
}

void
relabel_config(Model *model)
{
	ModelConfig *config = &model->config;

	/* Padding is told from text only where the model knows some already. */
	if (config->kind != MODEL_CLASSIFIER && !config->is_bidirectional)
		config->pad = -1;
	config->kind = MODEL_CLASSIFIER;
	config->labels = model->plan->labels;
}

bool
relabel_makes(const Model *model, const Parameter *parameter)
{
	const StoredTensor *stored = parameter->stored;
	Parameter *head[HEAD_PARAMETERS];
	int count = model->plan == NULL ? 0 : list_head(model, head);
	bool is_of_head = false;

	for (int i = 0; i < count; i++)
		is_of_head = is_of_head || head[i] == parameter;
	return is_of_head &&
	       (stored == NULL || stored->dimensions != parameter->dimensions ||
	        stored->count != parameter->count);
}

void
relabel_initialize(const Model *model, const Parameter *parameter,
                   int64_t first, int64_t count, float *target)
{
	uint64_t map = parameter == model->classifier.weight;
	uint64_t stream = random_stream(RANDOM_HEAD_WEIGHTS, map);
	double scale =
		parameter->dimensions == 1 ? 0 : model->config.initializer_range;

	for (int64_t i = 0; i < count; i++)
		target[i] = (float) (scale * random_normal(model->plan->seed, stream,
		                                           (uint64_t) (first + i)));
}

/* The map's weight, or bias, becomes one more parameter of the adapter. */
static void
take_over(Model *model, Parameter **parameter)
{
	Adapter *adapter = model->adapter;
	Parameter *taken =
		&adapter->parameters[2 * adapter->loras + adapter->wholes];

	if (*parameter == NULL)
		return;
	*taken = **parameter;
	/* The value as it lies in the file stays with the model. */
	taken->value = NULL;
	taken->is_copy = false;
	adapter_place(adapter, taken);
	adapter->whole[adapter->wholes++] = (int) (*parameter - model->parameters);
	*parameter = taken;
}

void
relabel_train_head(Model *model)
{
	Linear *maps[] = {&model->pooler, &model->classifier};

	for (int i = 0; i < 2; i++)
	{
		take_over(model, &maps[i]->weight);
		take_over(model, &maps[i]->bias);
		maps[i]->is_whole = true;
	}
}

/* "LlamaForCausalLM" becomes "LlamaForSequenceClassification". */
static json_t *
class_of(const Architecture *names)
{
	static const char *const endings[] = {"ForCausalLM", "LMHeadModel",
	                                      "Model"};
	size_t length = strlen(names->class_name);

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
	{
		size_t size = strlen(endings[i]);

		if (length > size &&
		    strcmp(names->class_name + length - size, endings[i]) == 0)
		{
			length -= size;
			break;
		}
	}
	return json_sprintf("%.*sForSequenceClassification", (int) length,
	                    names->class_name);
}

void
relabel_describe(const Model *model, json_t *config)
{
	const ClassifierPlan *plan = model->plan;
	json_t *classes = json_array();
	json_t *names = json_object();
	json_t *numbers = json_object();

	for (int i = 0; i < plan->labels; i++)
	{
		char number[16];

		snprintf(number, sizeof(number), "%d", i);
		json_object_set_new(names, number, json_string(plan->names[i]));
		json_object_set_new(numbers, plan->names[i], json_integer(i));
	}
	json_array_append_new(
		classes, class_of(architecture_find(model->config.architecture)));
	json_object_set_new(config, "architectures", classes);
	json_object_set_new(config, "id2label", names);
	json_object_set_new(config, "label2id", numbers);
	json_object_del(config, "num_labels");
	json_object_del(config, "problem_type");
	if (plan->problem != NULL)
		json_object_set_new(config, "problem_type", json_string(plan->problem));
	if (!model->config.is_bidirectional && model->config.pad < 0)
		json_object_set_new(config, "pad_token_id", json_null());
}
