/*
 * stored.h
 *		Numbers of weights as they are stored: floats, halves, and the blocks
 *		whose layouts base/quant.h describes.  Each comes out as the CPU
 *		widens it, bit for bit.
 *
 * An array begins at an aligned address, blocks of it at any even one.
 */
#pragma once

#include "cuda/warp.h"

extern "C"
{
#include "base/quant.h"
}

/* a * b + c with two roundings, as ggml and the CPU compute it. */
static __device__ __forceinline__ float
multiply_add(float a, float b, float c)
{
#ifdef __CUDACC__
	return __fadd_rn(__fmul_rn(a, b), c);
#else
	return a * b + c;
#endif
}

static __device__ __forceinline__ float
stored_half(const uint8_t *bytes)
{
	return fp16_to_float(*(const uint16_t *) (const void *) bytes);
}

static __device__ __forceinline__ uint32_t
stored_word(const uint8_t *bytes)
{
	const uint16_t *halves = (const uint16_t *) (const void *) bytes;

	return halves[0] | (uint32_t) halves[1] << 16;
}

/* Half a byte: the low halves of so many bytes, then the high ones. */
static __device__ __forceinline__ int
nibble(const uint8_t *bytes, int i, int many)
{
	return i < many ? bytes[i] & 15 : bytes[i - many] >> 4;
}

static __device__ __forceinline__ float
q8_0_number(const uint8_t *block, int i)
{
	return stored_half(block) * (float) (int8_t) block[2 + i];
}

static __device__ __forceinline__ float
q4_0_number(const uint8_t *block, int i)
{
	return stored_half(block) * (float) (nibble(block + 2, i, 16) - 8);
}

static __device__ __forceinline__ float
q4_1_number(const uint8_t *block, int i)
{
	return multiply_add(stored_half(block), (float) nibble(block + 4, i, 16),
	                    stored_half(block + 2));
}

static __device__ __forceinline__ float
q5_0_number(const uint8_t *block, int i)
{
	int high = (int) (stored_word(block + 2) >> i & 1) << 4;

	return stored_half(block) *
	       (float) ((nibble(block + 6, i, 16) | high) - 16);
}

static __device__ __forceinline__ float
q5_1_number(const uint8_t *block, int i)
{
	int high = (int) (stored_word(block + 4) >> i & 1) << 4;

	return multiply_add(stored_half(block),
	                    (float) (nibble(block + 8, i, 16) | high),
	                    stored_half(block + 2));
}

/* The pair of 6-bit numbers of part i of 8. */
static __device__ __forceinline__ void
stored_pair(const uint8_t *packed, int i, float *scale, float *least)
{
	int s;
	int m;

	if (i < 4)
	{
		s = packed[i] & 63;
		m = packed[i + 4] & 63;
	}
	else
	{
		s = (packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4;
		m = (packed[i + 4] >> 4) | (packed[i] >> 6) << 4;
	}
	*scale = (float) s;
	*least = (float) m;
}

/* Q4_K, and Q5_K with its fifth bits in front of the low ones. */
template <bool has_fifth>
static __device__ __forceinline__ float
q45_k_number(const uint8_t *block, int i)
{
	int part = i / 32;
	const uint8_t *high = block + 16;
	const uint8_t *low = has_fifth ? high + 32 : high;
	int n = low[part / 2 * 32 + i % 32] >> (part % 2 * 4) & 15;
	float scale;
	float least;

	if (has_fifth)
		n |= (high[i % 32] >> part & 1) << 4;
	stored_pair(block + 4, part, &scale, &least);
	scale *= stored_half(block);
	least *= stored_half(block + 2);
	return multiply_add(scale, (float) n, -least);
}

static __device__ __forceinline__ float
q6_k_number(const uint8_t *block, int i)
{
	int part = i / 32;
	/* Halves of 128: four parts share 64 low and 32 high bytes. */
	int low = block[part / 4 * 64 + part % 2 * 32 + i % 32];
	int high = block[128 + part / 4 * 32 + i % 32];
	int n = (low >> (part % 4 / 2 * 4) & 15) | (high >> (part % 4 * 2) & 3)
	                                               << 4;
	float scale =
		stored_half(block + 208) * (float) (int8_t) block[192 + i / 16];

	return scale * (float) (n - 32);
}

/* A block of NF4: what its codes are of, and those. */
typedef struct Nf4Block
{
	float most;
	const uint8_t *codes; /* a multiple of 4 bytes behind the data */
} Nf4Block;

static __device__ __forceinline__ Nf4Block
nf4_block(const void *data, int64_t block)
{
	const uint8_t *at = (const uint8_t *) data + block * 36;

	return Nf4Block{*(const float *) (const void *) at, at + 4};
}

static __device__ __forceinline__ Nf4Block
nf4_double_block(const void *data, int64_t block, const float *nf4_tables)
{
	const uint8_t *group =
		(const uint8_t *) data + block / NF4_GROUP * NF4_GROUP_BYTES;
	const float *head = (const float *) (const void *) group;
	int i = (int) (block % NF4_GROUP);

	return Nf4Block{
		multiply_add(nf4_tables[16 + group[8 + i]], head[0], head[1]),
		group + NF4_HEAD + i * (NF4_BLOCK / 2)};
}

static __device__ __forceinline__ float
nf4_number(const Nf4Block &block, int64_t at, const float *nf4_tables)
{
	return nf4_tables[nibble(block.codes, (int) (at % NF4_BLOCK),
	                         NF4_BLOCK / 2)] *
	       block.most;
}

/* Number `at` of the array that x's data is. */
static __device__ __forceinline__ float
stored_number(const Tensor &x, int64_t at, const float *nf4_tables)
{
	const uint8_t *data = (const uint8_t *) x.data;

	switch (x.dtype)
	{
		case DTYPE_F32:
			return ((const float *) x.data)[at];
		case DTYPE_F16:
			return fp16_to_float(((const uint16_t *) x.data)[at]);
		case DTYPE_BF16:
			return bf16_to_float(((const Bf16 *) x.data)[at]);
		case DTYPE_Q8_0:
			return q8_0_number(data + at / 32 * 34, (int) (at % 32));
		case DTYPE_Q4_0:
			return q4_0_number(data + at / 32 * 18, (int) (at % 32));
		case DTYPE_Q4_1:
			return q4_1_number(data + at / 32 * 20, (int) (at % 32));
		case DTYPE_Q5_0:
			return q5_0_number(data + at / 32 * 22, (int) (at % 32));
		case DTYPE_Q5_1:
			return q5_1_number(data + at / 32 * 24, (int) (at % 32));
		case DTYPE_Q4_K:
			return q45_k_number<false>(data + at / 256 * 144, (int) (at % 256));
		case DTYPE_Q5_K:
			return q45_k_number<true>(data + at / 256 * 176, (int) (at % 256));
		case DTYPE_Q6_K:
			return q6_k_number(data + at / 256 * 210, (int) (at % 256));
		case DTYPE_NF4:
			return nf4_number(nf4_block(data, at / NF4_BLOCK), at, nf4_tables);
		case DTYPE_NF4_DOUBLE:
			return nf4_number(
				nf4_double_block(data, at / NF4_BLOCK, nf4_tables), at,
				nf4_tables);
		case DTYPE_OTHER:
			break;
	}
	return 0;
}

/* ------------------------------------------------- eight numbers at a time */

/* Numbers that are widened together: neighbours in a block. */
#define STORED_EIGHT 8

/* So many bytes at an even address. */
static __device__ __forceinline__ void
bytes_of(int code[STORED_EIGHT], const uint8_t *bytes)
{
#pragma unroll
	for (int p = 0; p < STORED_EIGHT / 2; p++)
	{
		int both = ((const uint16_t *) (const void *) bytes)[p];

		code[2 * p] = both & 255;
		code[2 * p + 1] = both >> 8;
	}
}

/* The low halves of bytes, or with a shift of 4 the high ones. */
static __device__ __forceinline__ void
nibbles_of(int code[STORED_EIGHT], const uint8_t *bytes, int shift)
{
	bytes_of(code, bytes);
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		code[e] = code[e] >> shift & 15;
}

/* Fifth bits: of number e bit e. */
static __device__ __forceinline__ void
add_fifth_bits(int code[STORED_EIGHT], uint32_t bits)
{
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		code[e] |= (int) (bits >> e & 1) << 4;
}

static __device__ __forceinline__ void
scale_codes(float to[STORED_EIGHT], const int code[STORED_EIGHT], float scale,
            int zero)
{
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		to[e] = scale * (float) (code[e] - zero);
}

static __device__ __forceinline__ void
scale_codes_from(float to[STORED_EIGHT], const int code[STORED_EIGHT],
                 float scale, float least)
{
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		to[e] = multiply_add(scale, (float) code[e], least);
}

static __device__ __forceinline__ void
q8_0_eight(float to[STORED_EIGHT], const uint8_t *block, int i)
{
	int code[STORED_EIGHT];

	bytes_of(code, block + 2 + i);
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		code[e] = (int8_t) code[e];
	scale_codes(to, code, stored_half(block), 0);
}

template <bool has_fifth>
static __device__ __forceinline__ void
q45_k_eight(float to[STORED_EIGHT], const uint8_t *block, int i)
{
	int part = i / 32;
	const uint8_t *low = block + (has_fifth ? 48 : 16);
	int code[STORED_EIGHT];
	int high[STORED_EIGHT];
	float scale;
	float least;

	nibbles_of(code, low + part / 2 * 32 + i % 32, part % 2 * 4);
	if (has_fifth)
	{
		bytes_of(high, block + 16 + i % 32);
#pragma unroll
		for (int e = 0; e < STORED_EIGHT; e++)
			code[e] |= (high[e] >> part & 1) << 4;
	}
	stored_pair(block + 4, part, &scale, &least);
	scale *= stored_half(block);
	least *= stored_half(block + 2);
	scale_codes_from(to, code, scale, -least);
}

static __device__ __forceinline__ void
q6_k_eight(float to[STORED_EIGHT], const uint8_t *block, int i)
{
	int part = i / 32;
	int code[STORED_EIGHT];
	int high[STORED_EIGHT];

	nibbles_of(code, block + part / 4 * 64 + part % 2 * 32 + i % 32,
	           part % 4 / 2 * 4);
	bytes_of(high, block + 128 + part / 4 * 32 + i % 32);
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		code[e] |= (high[e] >> (part % 4 * 2) & 3) << 4;
	scale_codes(to, code,
	            stored_half(block + 208) * (float) (int8_t) block[192 + i / 16],
	            32);
}

static __device__ __forceinline__ void
nf4_eight(float to[STORED_EIGHT], const Nf4Block &block, int64_t at,
          const float *nf4_tables)
{
	int i = (int) (at % NF4_BLOCK);
	int code[STORED_EIGHT];

	nibbles_of(code, block.codes + i % 32, i / 32 * 4);
#pragma unroll
	for (int e = 0; e < STORED_EIGHT; e++)
		to[e] = nf4_tables[code[e]] * block.most;
}

/* Numbers [at, at + 8) of an array of blocks, at a multiple of 8: what
 * stored_number() gives, bit for bit. */
static __device__ __forceinline__ void
stored_eight(float to[STORED_EIGHT], const Tensor &x, int64_t at,
             const float *nf4_tables)
{
	const uint8_t *data = (const uint8_t *) x.data;
	int i = (int) (at % 32);
	int code[STORED_EIGHT];

	switch (x.dtype)
	{
		case DTYPE_Q8_0:
			return q8_0_eight(to, data + at / 32 * 34, i);
		case DTYPE_Q4_0:
			data += at / 32 * 18;
			nibbles_of(code, data + 2 + i % 16, i / 16 * 4);
			return scale_codes(to, code, stored_half(data), 8);
		case DTYPE_Q4_1:
			data += at / 32 * 20;
			nibbles_of(code, data + 4 + i % 16, i / 16 * 4);
			return scale_codes_from(to, code, stored_half(data),
			                        stored_half(data + 2));
		case DTYPE_Q5_0:
			data += at / 32 * 22;
			nibbles_of(code, data + 6 + i % 16, i / 16 * 4);
			add_fifth_bits(code, stored_word(data + 2) >> i);
			return scale_codes(to, code, stored_half(data), 16);
		case DTYPE_Q5_1:
			data += at / 32 * 24;
			nibbles_of(code, data + 8 + i % 16, i / 16 * 4);
			add_fifth_bits(code, stored_word(data + 4) >> i);
			return scale_codes_from(to, code, stored_half(data),
			                        stored_half(data + 2));
		case DTYPE_Q4_K:
			return q45_k_eight<false>(to, data + at / 256 * 144,
			                          (int) (at % 256));
		case DTYPE_Q5_K:
			return q45_k_eight<true>(to, data + at / 256 * 176,
			                         (int) (at % 256));
		case DTYPE_Q6_K:
			return q6_k_eight(to, data + at / 256 * 210, (int) (at % 256));
		case DTYPE_NF4:
			return nf4_eight(to, nf4_block(data, at / NF4_BLOCK), at,
			                 nf4_tables);
		case DTYPE_NF4_DOUBLE:
			return nf4_eight(to,
			                 nf4_double_block(data, at / NF4_BLOCK, nf4_tables),
			                 at, nf4_tables);
		case DTYPE_F32:
		case DTYPE_F16:
		case DTYPE_BF16:
		case DTYPE_OTHER:
			break;
	}
}
