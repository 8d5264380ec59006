/*
 * scripts.c
 *		The pattern of UnicodeScripts: one alternative for every script.
 */
#include "text/steps/scripts.h"

#include "text/buffer.h"

#include <stdio.h>

/* What joins any script, and the mark that lengthens a vowel in kana. */
#define ANY "\\x{20}\\p{sc:Unknown}"
#define LONG_VOWEL "\\x{30fc}"
#define HAN "\\p{sc:Han}\\p{sc:Hiragana}\\p{sc:Katakana}" LONG_VOWEL
#define COMMON "(?!" LONG_VOWEL ")[\\p{sc:Common}" ANY "]"
#define FIRST                                                                  \
	"[^\\P{sc:Common}" LONG_VOWEL "\\x{20}](?:" COMMON ")*+|[" HAN             \
	"][" HAN ANY "]*+"

static const char *const names[] = {"Latin",
                                    "Adlam",
                                    "Ahom",
                                    "AnatolianHieroglyphs",
                                    "Arabic",
                                    "Armenian",
                                    "Avestan",
                                    "Balinese",
                                    "Bamum",
                                    "BassaVah",
                                    "Batak",
                                    "Bengali",
                                    "Bhaiksuki",
                                    "Bopomofo",
                                    "Brahmi",
                                    "Braille",
                                    "Buginese",
                                    "Buhid",
                                    "CanadianAboriginal",
                                    "Carian",
                                    "CaucasianAlbanian",
                                    "Chakma",
                                    "Cham",
                                    "Cherokee",
                                    "Coptic",
                                    "Cuneiform",
                                    "Cypriot",
                                    "Cyrillic",
                                    "Deseret",
                                    "Devanagari",
                                    "Duployan",
                                    "EgyptianHieroglyphs",
                                    "Elbasan",
                                    "Ethiopic",
                                    "Georgian",
                                    "Glagolitic",
                                    "Gothic",
                                    "Grantha",
                                    "Greek",
                                    "Gujarati",
                                    "Gurmukhi",
                                    "Hangul",
                                    "Hanunoo",
                                    "Hatran",
                                    "Hebrew",
                                    "ImperialAramaic",
                                    "Inherited",
                                    "InscriptionalPahlavi",
                                    "InscriptionalParthian",
                                    "Javanese",
                                    "Kaithi",
                                    "Kannada",
                                    "KayahLi",
                                    "Kharoshthi",
                                    "Khmer",
                                    "Khojki",
                                    "Khudawadi",
                                    "Lao",
                                    "Lepcha",
                                    "Limbu",
                                    "LinearA",
                                    "LinearB",
                                    "Lisu",
                                    "Lycian",
                                    "Lydian",
                                    "Mahajani",
                                    "Malayalam",
                                    "Mandaic",
                                    "Manichaean",
                                    "Marchen",
                                    "MeeteiMayek",
                                    "MendeKikakui",
                                    "MeroiticCursive",
                                    "MeroiticHieroglyphs",
                                    "Miao",
                                    "Modi",
                                    "Mongolian",
                                    "Mro",
                                    "Multani",
                                    "Myanmar",
                                    "Nabataean",
                                    "NewTaiLue",
                                    "Newa",
                                    "Nko",
                                    "Ogham",
                                    "OlChiki",
                                    "OldHungarian",
                                    "OldItalic",
                                    "OldNorthArabian",
                                    "OldPermic",
                                    "OldPersian",
                                    "OldSouthArabian",
                                    "OldTurkic",
                                    "Oriya",
                                    "Osage",
                                    "Osmanya",
                                    "PahawhHmong",
                                    "Palmyrene",
                                    "PauCinHau",
                                    "PhagsPa",
                                    "Phoenician",
                                    "PsalterPahlavi",
                                    "Rejang",
                                    "Runic",
                                    "Samaritan",
                                    "Saurashtra",
                                    "Sharada",
                                    "Shavian",
                                    "Siddham",
                                    "SignWriting",
                                    "Sinhala",
                                    "SoraSompeng",
                                    "Sundanese",
                                    "SylotiNagri",
                                    "Syriac",
                                    "Tagalog",
                                    "Tagbanwa",
                                    "TaiLe",
                                    "TaiTham",
                                    "TaiViet",
                                    "Takri",
                                    "Tamil",
                                    "Tangut",
                                    "Telugu",
                                    "Thaana",
                                    "Thai",
                                    "Tibetan",
                                    "Tifinagh",
                                    "Tirhuta",
                                    "Ugaritic",
                                    "Vai",
                                    "WarangCiti",
                                    "Yi"};

bool
scripts_open(Arena *arena, Pattern **pattern, Failure *failure)
{
	TextBuffer text;

	buffer_start(&text, arena, failure);
	buffer_append(&text, FIRST, sizeof(FIRST) - 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char part[128];
		int length =
			snprintf(part, sizeof(part), "|\\p{sc:%s}[\\p{sc:%s}" ANY "]*+",
		             names[i], names[i]);

		buffer_append(&text, part, (size_t) length);
	}
	buffer_append(&text, "", 1);
	return !text.failed &&
	       pattern_open_regex(arena, text.data, pattern, failure);
}
