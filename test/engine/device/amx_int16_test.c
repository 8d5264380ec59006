/*
 * amx_int16_test.c
 *		Whole numbers of 16 bits by AMX, its instructions emulated:
 *		int16_kernels_test.c.
 */
#ifdef __x86_64__
#include "amx_emulated.h"
#endif

#include "int16_kernels_test.c"
