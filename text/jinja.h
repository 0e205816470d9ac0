/* Chat templates: the part of Jinja 2 (jinja.palletsprojects.com/templates) that they are written in, with the rules
 * that transformers sets: trim_blocks, lstrip_blocks, break and continue, {% generation %}, tojson that escapes no
 * HTML, raise_exception and strftime_now. Texts are those that the Python library gives, character by character.
 *
 * Held here: output, if, for (with else, if and targets of several names), set (of names, attributes of a namespace
 * and blocks), macro; literals, operators, slices, calls of the methods of texts and dictionaries that do not change
 * them, and the filters and tests of text/jinja_builtins.c. What else a template asks for is refused by name when
 * it is read (VISE_EUNSUPPORTED), never approximated. A template is foreign code: depth, steps, memory and output
 * are bounded.
 */
#ifndef VISE_TEXT_JINJA_H
#define VISE_TEXT_JINJA_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/err.h"

typedef struct vise_jinja vise_jinja;

/* What an error that names what is not supported ends with; those of vise_jinja_parse have it. */
#define VISE_JINJA_REMEDY "; give the lines as \"text\" or \"input_ids\" instead"

/* name (a path) opens every error; it is copied. */
VISE_MUST_USE vise_status vise_jinja_parse(const char *name, const char *text, size_t length,
                                           vise_jinja **out, vise_error *err);
void vise_jinja_free(vise_jinja *template);
/* Appends what the template makes of the members of context, an object. Whole numbers of JSON are integers there.
 * Errors of the template, raise_exception's among them, are VISE_EFORMAT. Not for two threads at a time. */
VISE_MUST_USE vise_status vise_jinja_render(vise_jinja *template, const cJSON *context, vise_buf *out,
                                            vise_error *err);
/* True if it asks for today's date. */
bool vise_jinja_uses_date(const vise_jinja *template);

#endif
