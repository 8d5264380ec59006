/*
 * checksum.h
 *		Tells whether a file is what was written: not against forgery, but
 *		against torn and rotten blocks.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CHECKSUM_START UINT64_C(0x243f6a8885a308d3)

/*
 * Continues a checksum over size bytes.  Where a run of bytes is cut makes no
 * difference as long as each piece but the last is a multiple of eight.
 */
static inline uint64_t
checksum_add(uint64_t checksum, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0)
	{
		uint64_t word = 0;
		size_t part = size < sizeof(word) ? size : sizeof(word);

		memcpy(&word, at, part);
		checksum = (checksum ^ word) * UINT64_C(0x9fb21c651e98df25);
		checksum ^= checksum >> 29;
		at += part;
		size -= part;
	}
	return checksum;
}
