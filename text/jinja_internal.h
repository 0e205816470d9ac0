/* Inside of chat templates: values as Python has them, nodes, and what the files of the interpreter share. */
#ifndef VISE_TEXT_JINJA_INTERNAL_H
#define VISE_TEXT_JINJA_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/mem.h"
#include "text/jinja.h"

/* ---- values ------------------------------------------------------------------------------------------------- */

typedef enum vise_jkind {
    VISE_J_UNDEFINED,
    VISE_J_NONE,
    VISE_J_BOOL,
    VISE_J_INT,
    VISE_J_FLOAT,
    VISE_J_TEXT,
    VISE_J_LIST,
    VISE_J_DICT,
    VISE_J_FUNCTION, /* one of vise_jfunction, or a method that is named and not called */
    VISE_J_MACRO
} vise_jkind;

typedef enum vise_jfunction {
    VISE_JF_METHOD,
    VISE_JF_RAISE,
    VISE_JF_RANGE,
    VISE_JF_NAMESPACE,
    VISE_JF_DICT,
    VISE_JF_STRFTIME
} vise_jfunction;

typedef struct vise_jvalue {
    vise_jkind kind;
    union {
        bool truth;
        int64_t whole;
        double number;
        struct {
            const char *text; /* valid UTF-8, not NUL-terminated */
            size_t length;
        };
        struct vise_jlist *list;
        struct vise_jdict *dict;
        vise_jfunction function;
        struct {
            const struct vise_jnode *macro;
            struct vise_jframe *frame; /* in which it was defined */
        };
    };
} vise_jvalue;

typedef struct vise_jlist {
    vise_jvalue *items;
    size_t count, capacity;
    bool tuple;
    bool lazy, used; /* what Python makes a generator of: true, without a length, to be gone through once */
} vise_jlist;

typedef struct vise_jdict {
    struct vise_jentry {
        vise_jvalue key, value;
    } * entries; /* in the order in which they came */
    size_t count, capacity;
    bool namespace;
} vise_jdict;

/* ---- nodes -------------------------------------------------------------------------------------------------- */

typedef enum vise_jnode_kind {
    /* expressions */
    VISE_JN_CONST,   /* value */
    VISE_JN_NAME,    /* name */
    VISE_JN_LIST,    /* args; op 1: a tuple */
    VISE_JN_DICT,    /* args: pairs, the key in a, the value in b */
    VISE_JN_ATTR,    /* a.name */
    VISE_JN_ITEM,    /* a[b] */
    VISE_JN_SLICE,   /* a[b:c:args] */
    VISE_JN_CALL,    /* a(args) */
    VISE_JN_FILTER,  /* a | op(args) */
    VISE_JN_TEST,    /* a is op(args) */
    VISE_JN_NOT,     /* not a */
    VISE_JN_NEGATE,  /* op 0: -a, 1: +a */
    VISE_JN_BINARY,  /* a op b */
    VISE_JN_AND,     /* a and b */
    VISE_JN_OR,      /* a or b */
    VISE_JN_COMPARE, /* a, then args: each an op and its a */
    VISE_JN_COND,    /* a if b else c */
    VISE_JN_ARG,     /* a, of a keyword argument name */
    /* statements */
    VISE_JN_DATA,      /* value */
    VISE_JN_OUTPUT,    /* a */
    VISE_JN_IF,        /* if a: body, otherwise: orelse */
    VISE_JN_FOR,       /* for args in a if b: body, orelse */
    VISE_JN_SET,       /* args (names, attributes) = a */
    VISE_JN_SET_BLOCK, /* args = body | a, which is a chain of filters over the name "" */
    VISE_JN_MACRO,     /* name(args, with defaults in a): body */
    VISE_JN_BLOCK,     /* body */
    VISE_JN_BREAK,
    VISE_JN_CONTINUE
} vise_jnode_kind;

typedef enum vise_jop {
    VISE_JO_ADD,
    VISE_JO_SUB,
    VISE_JO_MUL,
    VISE_JO_DIV,
    VISE_JO_FLOOR,
    VISE_JO_MOD,
    VISE_JO_CONCAT,
    VISE_JO_EQ,
    VISE_JO_NE,
    VISE_JO_LT,
    VISE_JO_LE,
    VISE_JO_GT,
    VISE_JO_GE,
    VISE_JO_IN,
    VISE_JO_NOT_IN
} vise_jop;

typedef struct vise_jnode {
    vise_jnode_kind kind;
    int line;
    int op;
    const char *name;
    vise_jvalue value;
    struct vise_jnode *a, *b, *c, *args, *body, *orelse;
    struct vise_jnode *next; /* of a list of arguments or statements */
} vise_jnode;

struct vise_jinja {
    vise_arena *arena;
    const char *name;
    vise_jnode *body;
    bool uses_date;
};

/* ---- tokens (text/jinja_lex.c) ------------------------------------------------------------------------------ */

typedef enum vise_jtoken_kind {
    VISE_JT_DATA,
    VISE_JT_VARIABLE,     /* {{ */
    VISE_JT_VARIABLE_END, /* }} */
    VISE_JT_BLOCK,        /* {% */
    VISE_JT_BLOCK_END,    /* %} */
    VISE_JT_NAME,
    VISE_JT_TEXT,
    VISE_JT_WHOLE,
    VISE_JT_NUMBER,
    VISE_JT_OP, /* text is the operator */
    VISE_JT_END
} vise_jtoken_kind;

typedef struct vise_jtoken {
    vise_jtoken_kind kind;
    int line;
    const char *text; /* NUL-terminated copy */
    size_t length;
} vise_jtoken;

/* The tokens of a template, the last of them VISE_JT_END; they live in the arena. */
VISE_MUST_USE vise_status vise_jinja_lex(vise_arena *arena, const char *name, const char *text, size_t length,
                                         vise_jtoken **tokens, vise_error *err);

/* ---- running ------------------------------------------------------------------------------------------------ */

typedef struct vise_jframe {
    struct vise_jframe *parent;
    struct vise_jvariable {
        const char *name;
        vise_jvalue value;
    } * variables;
    size_t count, capacity;
} vise_jframe;

typedef struct vise_jrun {
    const char *name;
    vise_arena *arena; /* of this rendering */
    size_t bytes;      /* taken from it, and written */
    uint64_t work;     /* done, see vise_jwork */
    int depth, equal_depth, line;
    int jump; /* 1: break, 2: continue */
    vise_buf *out;
    vise_error *err;
} vise_jrun;

#define VISE_JBYTES_MAX ((size_t)128 << 20)  /* of one rendering, and of one text in it */
#define VISE_JWORK_MAX  ((uint64_t)50000000) /* of one rendering */
#define VISE_JNODE_WORK 8                    /* of one node */

/* Counts work, in about nanoseconds: of each node, and of what goes through long texts, lists and dictionaries. Too
 * much of it makes the next node fail; what loops by itself asks before. */
bool vise_jwork(vise_jrun *run, size_t units); /* false: too much */

VISE_MUST_USE vise_status vise_jtake(vise_jrun *run, size_t size, void **out);
VISE_MUST_USE vise_status vise_jspend(vise_jrun *run,
                                      size_t size); /* counts bytes that are written elsewhere */
VISE_MUST_USE vise_status vise_jgrow(vise_jrun *run, void **array, size_t *capacity, size_t needed,
                                     size_t size);
/* Fails with the template's name and line in front. */
#define VISE_JFAIL(run, status, ...) vise_jfail((run), (status), __FILE__, __LINE__, __VA_ARGS__)
VISE_MUST_USE vise_status vise_jfail(vise_jrun *run, vise_status status, const char *file, int line,
                                     const char *format, ...) VISE_PRINTF(5, 6);

/* ---- values at work (text/jinja_value.c) --------------------------------------------------------------------- */

vise_jvalue vise_jtext(const char *text, size_t length);
vise_jvalue vise_jliteral(const char *text);
vise_jvalue vise_jint(int64_t whole);
vise_jvalue vise_jbool(bool truth);
bool vise_jis(const vise_jvalue *text, const char *literal);
const char *vise_jkind_name(const vise_jvalue *value);
VISE_MUST_USE vise_status vise_jcopy_text(vise_jrun *run, const vise_buf *buf, vise_jvalue *out);
VISE_MUST_USE vise_status vise_jnew_list(vise_jrun *run, bool tuple, vise_jvalue *out);
VISE_MUST_USE vise_status vise_jappend(vise_jrun *run, vise_jlist *list, vise_jvalue item);
VISE_MUST_USE vise_status vise_jnew_dict(vise_jrun *run, vise_jvalue *out);
VISE_MUST_USE vise_status vise_jput(vise_jrun *run, vise_jdict *dict, vise_jvalue key, vise_jvalue value);
const vise_jvalue *vise_jget(vise_jrun *run, const vise_jdict *dict, const vise_jvalue *key); /* NULL: none */
VISE_MUST_USE vise_status vise_jfrom_json(vise_jrun *run, const cJSON *json, vise_jvalue *out);

bool vise_jtruth(const vise_jvalue *value);
bool vise_jequal(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b);
VISE_MUST_USE vise_status vise_jcompare(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b,
                                        int *order);
VISE_MUST_USE vise_status vise_jcontains(vise_jrun *run, const vise_jvalue *in, const vise_jvalue *what,
                                         bool *yes);
VISE_MUST_USE vise_status vise_jarithmetic(vise_jrun *run, vise_jop op, const vise_jvalue *a,
                                           const vise_jvalue *b, vise_jvalue *out);
/* A text in characters, as Python counts. */
size_t vise_jcharacters(const vise_jvalue *text);
VISE_MUST_USE vise_status vise_jlength(vise_jrun *run, const vise_jvalue *value, int64_t *length);
/* What a loop runs over: a list, the keys of a dictionary, the characters of a text; nothing for undefined. */
VISE_MUST_USE vise_status vise_jiterate(vise_jrun *run, const vise_jvalue *value, vise_jlist **out);
VISE_MUST_USE vise_status vise_jitem(vise_jrun *run, const vise_jvalue *of, const vise_jvalue *key,
                                     vise_jvalue *out);
/* from, to and step may be none or undefined. */
VISE_MUST_USE vise_status vise_jslice(vise_jrun *run, const vise_jvalue *of, const vise_jvalue *from,
                                      const vise_jvalue *to, const vise_jvalue *step, vise_jvalue *out);

/* json.dumps's arguments of these names; indent -1: none, all in one line. */
typedef struct vise_jjson_style {
    int indent;
    vise_jvalue separators[2]; /* between items, and behind a key: texts */
} vise_jjson_style;

/* str(value) and json.dumps(value, ensure_ascii=False, ...). */
VISE_MUST_USE vise_status vise_jprint(vise_jrun *run, const vise_jvalue *value, vise_buf *out);
VISE_MUST_USE vise_status vise_jjson(vise_jrun *run, const vise_jvalue *value, const vise_jjson_style *style,
                                     vise_buf *out);
VISE_MUST_USE vise_status vise_jstring(vise_jrun *run, const vise_jvalue *value,
                                       vise_jvalue *out); /* str as a text */

/* ---- filters, tests, methods, functions (text/jinja_builtins.c) ----------------------------------------------- */

typedef struct vise_jarguments {
    vise_jvalue *values; /* by position, then those with names */
    const char **names;  /* NULL: by position */
    size_t count;
} vise_jarguments;

int vise_jfilter_find(const char *name); /* -1: none */
int vise_jtest_find(const char *name);
/* True if values of this kind have a method of that name. */
bool vise_jmethod_known(const vise_jvalue *of, const char *name);
VISE_MUST_USE vise_status vise_jfilter_run(vise_jrun *run, int filter, const vise_jvalue *value,
                                           const vise_jarguments *arguments, vise_jvalue *out);
VISE_MUST_USE vise_status vise_jtest_run(vise_jrun *run, int test, const vise_jvalue *value,
                                         const vise_jarguments *arguments, bool *out);
VISE_MUST_USE vise_status vise_jmethod_run(vise_jrun *run, const vise_jvalue *of, const char *name,
                                           const vise_jarguments *arguments, vise_jvalue *out);
VISE_MUST_USE vise_status vise_jfunction_run(vise_jrun *run, vise_jfunction function,
                                             const vise_jarguments *arguments, vise_jvalue *out);
VISE_MUST_USE vise_status vise_jattribute(vise_jrun *run, const vise_jvalue *of, const char *name,
                                          vise_jvalue *out);

#endif
