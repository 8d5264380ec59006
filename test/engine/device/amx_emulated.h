/*
 * amx_emulated.h
 *		Our kernels by AMX, with their instructions in plain C: so they run,
 *		checked, where the processor has no AMX.  A program that includes this
 *		has a CPU backend that takes them for its own.
 *
 * By the Intel 64 and IA-32 Architectures Software Developer's Manual, volume
 * 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBF16PS, TDPBSSD,
 * TILERELEASE.  What would raise an exception there fails the test here.
 */
#pragma once

#include "testing.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#define TILE_BYTES 1024

static _Thread_local uint8_t amx_data[8][TILE_BYTES];
static _Thread_local uint8_t amx_rows[8];
static _Thread_local uint16_t amx_row_bytes[8];
static _Thread_local bool amx_is_configured;
/* A fault of the processor's, for tests of what finds it. */
static bool amx_drops_last_pair;

static inline void
amx_configure(const void *from)
{
	const uint8_t *bytes = from;

	assert_int_equal(bytes[0], 1); /* palette */
	for (int i = 1; i < 16; i++)
		assert_int_equal(bytes[i], 0);
	for (int i = 0; i < 8; i++)
	{
		memcpy(&amx_row_bytes[i], bytes + 16 + 2 * i, 2);
		amx_rows[i] = bytes[48 + i];
		assert_in_range(amx_rows[i], 1, 16);
		assert_in_range(amx_row_bytes[i], 1, 64);
		/* Never relied on: loading a configuration zeroes the tiles. */
		memset(amx_data[i], 0xff, TILE_BYTES);
	}
	for (int i = 32; i < 48; i++)
		assert_int_equal(bytes[i], 0);
	for (int i = 56; i < 64; i++)
		assert_int_equal(bytes[i], 0);
	amx_is_configured = true;
}

static inline void
amx_zero(int tile)
{
	assert_true(amx_is_configured);
	memset(amx_data[tile], 0, TILE_BYTES);
}

static inline void
amx_load(int tile, const void *base, size_t stride)
{
	assert_true(amx_is_configured);
	memset(amx_data[tile], 0, TILE_BYTES);
	for (int i = 0; i < amx_rows[tile]; i++)
		memcpy(amx_data[tile] + 64 * i,
		       (const char *) base + (size_t) i * stride, amx_row_bytes[tile]);
}

static inline void
amx_store(int tile, void *base, size_t stride)
{
	assert_true(amx_is_configured);
	for (int i = 0; i < amx_rows[tile]; i++)
		memcpy((char *) base + (size_t) i * stride, amx_data[tile] + 64 * i,
		       amx_row_bytes[tile]);
}

static inline float
amx_widened(const uint8_t *at)
{
	uint32_t bits = (uint32_t) at[1] << 24 | (uint32_t) at[0] << 16;
	float number;

	memcpy(&number, &bits, sizeof(number));
	return number;
}

static inline void
amx_check_factors(int sums, int left, int right)
{
	assert_true(amx_is_configured);
	assert_true(sums != left && sums != right && left != right);
	assert_int_equal(amx_rows[sums], amx_rows[left]);
	assert_int_equal(amx_row_bytes[sums], amx_row_bytes[right]);
	assert_int_equal(amx_rows[right], amx_row_bytes[left] / 4);
	assert_int_equal(amx_row_bytes[left] % 4, 0);
	assert_int_equal(amx_row_bytes[right] % 4, 0);
}

static inline void
amx_multiply(int sums, int left, int right)
{
	int pairs = amx_row_bytes[left] / 4;

	amx_check_factors(sums, left, right);
	for (int i = 0; i < amx_rows[sums]; i++)
		for (int j = 0; j < amx_row_bytes[sums] / 4; j++)
		{
			float even = 0, odd = 0, sum;

			for (int k = 0; k < pairs - amx_drops_last_pair; k++)
			{
				const uint8_t *a = amx_data[left] + 64 * i + 4 * k;
				const uint8_t *b = amx_data[right] + 64 * k + 4 * j;

				even += amx_widened(a) * amx_widened(b);
				odd += amx_widened(a + 2) * amx_widened(b + 2);
			}
			memcpy(&sum, amx_data[sums] + 64 * i + 4 * j, sizeof(sum));
			sum += even + odd;
			memcpy(amx_data[sums] + 64 * i + 4 * j, &sum, sizeof(sum));
		}
}

static inline void
amx_multiply_bytes(int sums, int left, int right)
{
	int fours = amx_row_bytes[left] / 4 - amx_drops_last_pair;

	amx_check_factors(sums, left, right);
	for (int i = 0; i < amx_rows[sums]; i++)
		for (int j = 0; j < amx_row_bytes[sums] / 4; j++)
		{
			uint8_t *at = amx_data[sums] + 64 * i + 4 * j;
			int32_t sum;

			memcpy(&sum, at, sizeof(sum));
			for (int k = 0; k < 4 * fours; k++)
				sum += (int8_t) amx_data[left][64 * i + k] *
				       (int8_t) amx_data[right][64 * (k / 4) + 4 * j + k % 4];
			memcpy(at, &sum, sizeof(sum));
		}
}

#undef _tile_loadconfig
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_release
#define _tile_loadconfig(from) amx_configure(from)
#define _tile_zero(tile) amx_zero(tile)
#define _tile_loadd(tile, base, stride) amx_load(tile, base, stride)
#define _tile_stored(tile, base, stride) amx_store(tile, base, stride)
#define _tile_dpbf16ps(sums, left, right) amx_multiply(sums, left, right)
#define _tile_dpbssd(sums, left, right) amx_multiply_bytes(sums, left, right)
#define _tile_release() ((void) (amx_is_configured = false))

/* The system grants what it is asked for, and the processor has it. */
static inline long
amx_granted(long call, long request, long what)
{
	assert_int_equal(call, SYS_arch_prctl);
	assert_int_equal(request, 0x1023);
	assert_int_equal(what, 18);
	return 0;
}

#define syscall(call, request, what) amx_granted(call, request, what)
#define __get_cpuid_count(leaf, part, a, b, c, d)                              \
	(*(a) = *(b) = *(c) = *(d) = ~0u, true)

#include "device/cpu/matmul_amx.c"
