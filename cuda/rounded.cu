/*
 * rounded.cu
 *		Inputs of products that are rounded to bf16, kept for the next product
 *		of the same numbers.
 *
 * Queries, keys and values are products of one input, and each gradient goes
 * into two: what was rounded for the first serves the others.  Operations whose
 * results are always multiplied next write the copy themselves.  Every
 * operation says what it writes (cuda_wrote), and copies of that are forgotten;
 * in the tests each copy that is used again is compared with its numbers.
 */
#include "cuda/rounded.h"

static Rounded *
slot_of(CudaDevice *cuda, int i)
{
	return &cuda->rounded[i];
}

/* The byte after a tensor's last. */
static const char *
end_of(const Tensor &x)
{
	int64_t numbers = x.rows == 0 ? 0 : (x.rows - 1) * x.stride + x.cols;

	return (const char *) x.data + (size_t) numbers * sizeof(float);
}

void
cuda_wrote_bytes(Device *device, const void *memory, size_t bytes)
{
	const char *begin = (const char *) memory;

	for (int i = 0; i < ROUNDED_COUNT; i++)
	{
		Rounded *slot = slot_of(cuda_of(device), i);

		if (slot->of.data != NULL && begin < end_of(slot->of) &&
		    begin + bytes > (const char *) slot->of.data)
			slot->of.data = NULL;
	}
}

void
cuda_wrote(Device *device, const Tensor &x)
{
	if (x.data != NULL)
		cuda_wrote_bytes(device, x.data,
		                 (size_t) (end_of(x) - (const char *) x.data));
}

void
cuda_forget_rounded(Device *device)
{
	for (int i = 0; i < ROUNDED_COUNT; i++)
		slot_of(cuda_of(device), i)->of.data = NULL;
}

static bool
is_same(const Tensor &a, const Tensor &b)
{
	return a.data == b.data && a.rows == b.rows && a.cols == b.cols &&
	       (a.stride == b.stride || a.rows < 2);
}

#ifndef __CUDACC__
static void
check_copy(const Tensor &x, const RoundedCopy &copy)
{
	bool is_good = true;

	shim_open_memory();
	for (int64_t i = 0; i < x.rows && is_good; i++)
		for (int64_t j = 0; j < x.cols && is_good; j++)
			is_good = copy.data[i * copy.stride + j].bits ==
			          bf16_from_float(row_of(x, i)[j]).bits;
	shim_close_memory();
	if (!is_good)
		shim_fault("numbers changed after they were rounded");
}
#endif

static RoundedCopy
copy_in(CudaDevice *cuda, int slot)
{
	Rounded *rounded = slot_of(cuda, slot);

	rounded->used = ++cuda->rounded_clock;
	return RoundedCopy{(Bf16 *) cuda->scratch[SCRATCH_ROUNDED + slot],
	                   rounded_stride(rounded->of.cols)};
}

RoundedCopy
cuda_find_rounded(Device *device, const Tensor &x)
{
	CudaDevice *cuda = cuda_of(device);

	for (int i = 0; i < ROUNDED_COUNT; i++)
		if (x.data != NULL && is_same(slot_of(cuda, i)->of, x))
		{
			RoundedCopy copy = copy_in(cuda, i);

#ifndef __CUDACC__
			if (!cuda->has_failed)
				check_copy(x, copy);
#endif
			return copy;
		}
	return RoundedCopy{};
}

/* The slot that was not used for longest. */
static int
oldest(CudaDevice *cuda)
{
	int found = 0;

	for (int i = 1; i < ROUNDED_COUNT; i++)
		if (slot_of(cuda, i)->used < slot_of(cuda, found)->used)
			found = i;
	return found;
}

RoundedCopy
cuda_make_rounded(Device *device, const Tensor &x)
{
	CudaDevice *cuda = cuda_of(device);
	int i = oldest(cuda);
	CudaScratch purpose = (CudaScratch) (SCRATCH_ROUNDED + i);
	size_t bytes = (size_t) (x.rows * rounded_stride(x.cols)) * sizeof(Bf16);

	slot_of(cuda, i)->of.data = NULL;
	if (cuda_scratch(device, purpose, bytes) == NULL)
		return RoundedCopy{};
	slot_of(cuda, i)->of = x;
	return copy_in(cuda, i);
}

RoundedCopy
cuda_also_rounded(Device *device, const Tensor &out)
{
	size_t bytes =
		(size_t) (out.rows * rounded_stride(out.cols)) * sizeof(Bf16);

	cuda_wrote(device, out);
	if (device->products != DTYPE_BF16 || cuda_of(device)->has_failed ||
	    bytes == 0 || bytes > CUDA_SCRATCH_MOST)
		return RoundedCopy{};
	return cuda_make_rounded(device, out);
}
