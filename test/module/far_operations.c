/*
 * far_operations.c
 *		Each operation: on its way to the CPU's, pointers come near.
 */
#include "far.h"

static Tensor
tensor(Tensor x)
{
	x.data = (void *) (uintptr_t) near(x.data);
	return x;
}

static Matrix
matrix(const Matrix *w)
{
	return (Matrix){tensor(w->tensor), w->transposed,
	                w->packed == NULL ? NULL : near(w->packed),
	                w->packed_grad == NULL ? NULL : near(w->packed_grad)};
}

/* NULL stays NULL. */
static const Tensor *
optional(const Tensor *x, Tensor *copy)
{
	if (x == NULL)
		return NULL;
	*copy = tensor(*x);
	return copy;
}

static AttentionShape
attention_shape(const AttentionShape *shape, RelativeScores *relative)
{
	AttentionShape copy = *shape;

	copy.offset = near(shape->offset);
	copy.prefix = near(shape->prefix);
	if (shape->relative == NULL)
		return copy;
	*relative = *shape->relative;
	relative->query = tensor(relative->query);
	relative->key = tensor(relative->key);
	relative->dquery = tensor(relative->dquery);
	relative->dkey = tensor(relative->dkey);
	relative->bucket = near(relative->bucket);
	copy.relative = relative;
	return copy;
}

static Device *
cpu_of(Device *device)
{
	Device *cpu = ((FarDevice *) device)->cpu;

	cpu->products = device->products;
	return cpu;
}

static void
far_matmul(Device *device, Tensor out, Tensor x, const Matrix *w,
           const Tensor *bias, float beta)
{
	Device *cpu = cpu_of(device);
	Matrix weight = matrix(w);
	Tensor copy;

	if (far_begins(device))
		cpu->matmul(cpu, tensor(out), tensor(x), &weight, optional(bias, &copy),
		            beta);
}

static size_t
far_packed_bytes(Device *device, const Matrix *w, bool is_for_input_grad)
{
	Device *cpu = cpu_of(device);
	Matrix weight = matrix(w);

	return cpu->packed_bytes(cpu, &weight, is_for_input_grad);
}

static void
far_pack(Device *device, void *target, const Matrix *w, bool is_for_input_grad)
{
	Device *cpu = cpu_of(device);
	Matrix weight = matrix(w);

	if (far_begins(device))
		cpu->pack(cpu, (void *) (uintptr_t) near(target), &weight,
		          is_for_input_grad);
}

static void
far_matmul_input_grad(Device *device, Tensor dx, Tensor dout, const Matrix *w,
                      float beta)
{
	Device *cpu = cpu_of(device);
	Matrix weight = matrix(w);

	if (far_begins(device))
		cpu->matmul_input_grad(cpu, tensor(dx), tensor(dout), &weight, beta);
}

static void
far_matmul_weight_grad(Device *device, const Matrix *dw, const Tensor *dbias,
                       Tensor dout, Tensor x)
{
	Device *cpu = cpu_of(device);
	Matrix weight = matrix(dw);
	Tensor copy;

	if (far_begins(device))
		cpu->matmul_weight_grad(cpu, &weight, optional(dbias, &copy),
		                        tensor(dout), tensor(x));
}

static void
far_gather_rows(Device *device, Tensor out, Tensor table, const int32_t *index,
                float beta)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->gather_rows(cpu, tensor(out), tensor(table), near(index), beta);
}

static void
far_scatter_rows(Device *device, Tensor target, Tensor source,
                 const int32_t *index)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->scatter_rows(cpu, tensor(target), tensor(source), near(index));
}

static void
far_scatter_add_rows(Device *device, Tensor table, Tensor source,
                     const int32_t *index)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->scatter_add_rows(cpu, tensor(table), tensor(source), near(index));
}

static void
far_regroup_heads(Device *device, Tensor out, Tensor x, int heads, int parts,
                  bool inverse)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->regroup_heads(cpu, tensor(out), tensor(x), heads, parts, inverse);
}

static void
far_add(Device *device, Tensor out, Tensor a, Tensor b)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->add(cpu, tensor(out), tensor(a), tensor(b));
}

static void
far_scale(Device *device, Tensor x, float factor)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->scale(cpu, tensor(x), factor);
}

static void
far_dropout(Device *device, Tensor out, Tensor x, float beta,
            double probability, const uint64_t *key, uint64_t site)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->dropout(cpu, tensor(out), tensor(x), beta, probability, near(key),
		             site);
}

static void
far_norm(Device *device, NormKind kind, float eps, Tensor out, Tensor x,
         Tensor weight, const Tensor *bias, Tensor stat)
{
	Device *cpu = cpu_of(device);
	Tensor copy;

	if (far_begins(device))
		cpu->norm(cpu, kind, eps, tensor(out), tensor(x), tensor(weight),
		          optional(bias, &copy), tensor(stat));
}

static void
far_norm_grad(Device *device, NormKind kind, Tensor dx, float beta,
              const Tensor *dweight, const Tensor *dbias, Tensor dout, Tensor x,
              Tensor weight, Tensor stat)
{
	Device *cpu = cpu_of(device);
	Tensor weight_copy, bias_copy;

	if (far_begins(device))
		cpu->norm_grad(cpu, kind, tensor(dx), beta,
		               optional(dweight, &weight_copy),
		               optional(dbias, &bias_copy), tensor(dout), tensor(x),
		               tensor(weight), tensor(stat));
}

static void
far_rotate(Device *device, Tensor x, int heads, int rotary, Tensor table,
           const int32_t *position, bool inverse)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->rotate(cpu, tensor(x), heads, rotary, tensor(table),
		            near(position), inverse);
}

static void
far_attention(Device *device, const AttentionShape *shape, Tensor out, Tensor q,
              Tensor k, Tensor v, Tensor lse)
{
	Device *cpu = cpu_of(device);
	RelativeScores relative;
	AttentionShape copy = attention_shape(shape, &relative);

	if (far_begins(device))
		cpu->attention(cpu, &copy, tensor(out), tensor(q), tensor(k), tensor(v),
		               tensor(lse));
}

static void
far_attention_grad(Device *device, const AttentionShape *shape, Tensor dq,
                   Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor q,
                   Tensor k, Tensor v, Tensor lse)
{
	Device *cpu = cpu_of(device);
	RelativeScores relative;
	AttentionShape copy = attention_shape(shape, &relative);

	if (far_begins(device))
		cpu->attention_grad(cpu, &copy, tensor(dq), tensor(dk), tensor(dv),
		                    tensor(dout), tensor(out), tensor(q), tensor(k),
		                    tensor(v), tensor(lse));
}

static void
far_attention_cached(Device *device, const AttentionShape *shape, Tensor out,
                     Tensor q, Tensor k_cache, Tensor v_cache,
                     const int32_t *first, const int32_t *length)
{
	Device *cpu = cpu_of(device);
	RelativeScores relative;
	AttentionShape copy = attention_shape(shape, &relative);

	if (far_begins(device))
		cpu->attention_cached(cpu, &copy, tensor(out), tensor(q),
		                      tensor(k_cache), tensor(v_cache), near(first),
		                      near(length));
}

/* NULL stays NULL. */
static const Fixed *
both_kept(const Fixed *kept, Fixed copy[2])
{
	if (kept == NULL)
		return NULL;
	for (int i = 0; i < 2; i++)
		copy[i] = (Fixed){(void *) (uintptr_t) near(kept[i].code),
		                  (void *) (uintptr_t) near(kept[i].scale)};
	return copy;
}

static void
far_activation(Device *device, Activation kind, Tensor out, Tensor gate,
               const Tensor *up, const Fixed *kept)
{
	Device *cpu = cpu_of(device);
	Tensor copy;
	Fixed pair[2];

	if (far_begins(device))
		cpu->activation(cpu, kind, tensor(out), tensor(gate),
		                optional(up, &copy), both_kept(kept, pair));
}

static void
far_activation_grad(Device *device, Activation kind, Tensor dgate,
                    const Tensor *dup, Tensor dout, Tensor gate,
                    const Tensor *up, const Fixed *kept)
{
	Device *cpu = cpu_of(device);
	Tensor dup_copy, up_copy;
	Fixed pair[2];

	if (far_begins(device))
		cpu->activation_grad(cpu, kind, tensor(dgate), optional(dup, &dup_copy),
		                     tensor(dout), tensor(gate), optional(up, &up_copy),
		                     both_kept(kept, pair));
}

static void
far_logprob(Device *device, Tensor logp, Tensor lse, Tensor logits,
            const int32_t *target)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->logprob(cpu, tensor(logp), tensor(lse), tensor(logits),
		             near(target));
}

static void
far_logprob_grad(Device *device, Tensor logits, Tensor lse,
                 const int32_t *target, Tensor coefficient)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->logprob_grad(cpu, tensor(logits), tensor(lse), near(target),
		                  tensor(coefficient));
}

static void
far_add_squares(Device *device, double *sum, Tensor x)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->add_squares(cpu, (double *) (uintptr_t) near(sum), tensor(x));
}

static void
far_adamw(Device *device, const AdamW *settings, Tensor parameter,
          Tensor gradient, Tensor m, Tensor v)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->adamw(cpu, settings, tensor(parameter), tensor(gradient),
		           tensor(m), tensor(v));
}

static Coded
coded(Coded x)
{
	return (Coded){(void *) (uintptr_t) near(x.code),
	               (void *) (uintptr_t) near(x.scale)};
}

static void
far_adamw_coded(Device *device, const AdamW *settings, Tensor parameter,
                Tensor gradient, Coded m, Coded v)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->adamw_coded(cpu, settings, tensor(parameter), tensor(gradient),
		                 coded(m), coded(v));
}

static Fixed
fixed(Fixed x)
{
	return (Fixed){(void *) (uintptr_t) near(x.code),
	               (void *) (uintptr_t) near(x.scale)};
}

static void
far_write_fixed(Device *device, Fixed target, Tensor x)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->write_fixed(cpu, fixed(target), tensor(x));
}

static void
far_read_fixed(Device *device, Tensor out, Fixed source)
{
	Device *cpu = cpu_of(device);

	if (far_begins(device))
		cpu->read_fixed(cpu, tensor(out), fixed(source));
}

static void
far_hold(Device *device, const Tensor *x, int count)
{
	(void) device;
	(void) x;
	(void) count;
}

/* One after the other, as the operations are counted. */
static void
far_run_slices(Device *device, int count,
               void (*work)(void *argument, int slice), void *argument)
{
	(void) device;
	for (int i = 0; i < count; i++)
		work(argument, i);
}

void
far_fill_operations(Device *device)
{
	device->run_slices = far_run_slices;
	device->packed_bytes = far_packed_bytes;
	device->pack = far_pack;
	device->matmul = far_matmul;
	device->matmul_input_grad = far_matmul_input_grad;
	device->hold = far_hold;
	device->matmul_weight_grad = far_matmul_weight_grad;
	device->gather_rows = far_gather_rows;
	device->scatter_rows = far_scatter_rows;
	device->scatter_add_rows = far_scatter_add_rows;
	device->regroup_heads = far_regroup_heads;
	device->add = far_add;
	device->scale = far_scale;
	device->dropout = far_dropout;
	device->norm = far_norm;
	device->norm_grad = far_norm_grad;
	device->rotate = far_rotate;
	device->attention = far_attention;
	device->attention_grad = far_attention_grad;
	device->attention_cached = far_attention_cached;
	device->activation = far_activation;
	device->activation_grad = far_activation_grad;
	device->logprob = far_logprob;
	device->logprob_grad = far_logprob_grad;
	device->add_squares = far_add_squares;
	device->adamw = far_adamw;
	device->adamw_coded = far_adamw_coded;
	device->write_fixed = far_write_fixed;
	device->read_fixed = far_read_fixed;
}
