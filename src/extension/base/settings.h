/*
 * settings.h
 *		The settings alol.* (their variables are in alol.h).
 */
#pragma once

/* Defines them; called once, when the library is loaded. */
extern void settings_define(void);
