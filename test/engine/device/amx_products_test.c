/*
 * amx_products_test.c
 *		Products of 16 bits by AMX, its instructions emulated:
 *		bf16_test.c.
 */
#ifdef __x86_64__
#include "amx_emulated.h"
#endif

#include "bf16_test.c"
