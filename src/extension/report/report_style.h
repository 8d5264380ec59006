/*
 * report_style.h
 *		The style sheet of a report: light and dark, wide, narrow, and printed.
 */
#pragma once

extern const char report_style[];
