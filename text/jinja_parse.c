/* Tokens to nodes: Jinja's grammar, precedences as in its parser. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_internal.h"

#define DEPTH_MAX 100
#define BYTES_MAX ((size_t)1 << 20) /* of a template */

typedef struct parser {
    vise_jinja *template;
    const vise_jtoken *at;
    int depth, loops;
    vise_error *err;
} parser;

static vise_status expression(parser *p, bool with_cond, vise_jnode **out);
static vise_status statements(parser *p, const char *const *ends, vise_jnode **out);

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

static bool is_op(const parser *p, const char *op)
{
    return p->at->kind == VISE_JT_OP && strcmp(p->at->text, op) == 0;
}

static bool is_word(const parser *p, const char *word)
{
    return p->at->kind == VISE_JT_NAME && strcmp(p->at->text, word) == 0;
}

static bool take_op(parser *p, const char *op)
{
    bool there = is_op(p, op);

    p->at += there;
    return there;
}

static bool take_word(parser *p, const char *word)
{
    bool there = is_word(p, word);

    p->at += there;
    return there;
}

static vise_status unexpected(const parser *p, const char *wanted)
{
    static const char *const kinds[] = {"text", "{{",     "}}",     "{%", "%}",     "name",
                                        "text", "number", "number", "",   "the end"};

    return VISE_FAIL(p->err, VISE_EFORMAT, "%s line %d: %s \"%.40s\" where %s is expected", p->template->name,
                     p->at->line, kinds[p->at->kind], p->at->text, wanted);
}

static vise_status unsupported(const parser *p, const char *what, const char *name)
{
    return VISE_FAIL(
        p->err, VISE_EUNSUPPORTED,
        "%s line %d: the chat template uses %s \"%.60s\", which is not supported" VISE_JINJA_REMEDY,
        p->template->name, p->at->line, what, name);
}

static vise_status expect_op(parser *p, const char *op)
{
    return take_op(p, op) ? VISE_OK : unexpected(p, op);
}

static vise_status expect_kind(parser *p, vise_jtoken_kind kind, const char *what)
{
    if (p->at->kind != kind)
        return unexpected(p, what);
    p->at++;
    return VISE_OK;
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static vise_status make(parser *p, vise_jnode_kind kind, vise_jnode **out)
{
    void *memory;

    VISE_TRY(vise_arena_take(p->template->arena, sizeof **out, &memory, p->err));
    *out = memory;
    (*out)->kind = kind;
    (*out)->line = p->at->line;
    return VISE_OK;
}

static vise_status make_over(parser *p, vise_jnode_kind kind, vise_jnode *a, vise_jnode **out)
{
    VISE_TRY(make(p, kind, out));
    (*out)->a = a;
    return VISE_OK;
}

/* Names live as long as their tokens: as the template. */
static vise_status name_of(parser *p, const char **name)
{
    *name = p->at->text;
    return expect_kind(p, VISE_JT_NAME, "a name");
}

static vise_status deeper(parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return VISE_FAIL(p->err, VISE_EFORMAT, "%s line %d: nested too deeply", p->template->name,
                         p->at->line);
    return VISE_OK;
}

/* ---- expressions ----------------------------------------------------------------------------------------------- */

/* Arguments behind "(", up to ")". */
static vise_status arguments(parser *p, vise_jnode **list)
{
    vise_jnode **tail = list;

    while (!take_op(p, ")")) {
        vise_jnode *argument;
        if (tail != list)
            VISE_TRY(expect_op(p, ","));
        if (tail != list && take_op(p, ")"))
            return VISE_OK;
        if (is_op(p, "*") || is_op(p, "**"))
            return unsupported(p, "the argument", p->at->text);
        VISE_TRY(make(p, VISE_JN_ARG, &argument));
        if (p->at->kind == VISE_JT_NAME && p->at[1].kind == VISE_JT_OP && strcmp(p->at[1].text, "=") == 0) {
            argument->name = p->at->text;
            p->at += 2;
        }
        VISE_TRY(expression(p, true, &argument->a));
        *tail = argument;
        tail = &argument->next;
    }
    return VISE_OK;
}

/* Expressions up to the closing bracket; *comma: one of them was followed by a comma. */
static vise_status items(parser *p, const char *close, bool *comma, vise_jnode **list)
{
    vise_jnode **tail = list;

    *comma = false;
    while (!take_op(p, close)) {
        vise_jnode *item;
        if (tail != list) {
            VISE_TRY(expect_op(p, ","));
            *comma = true;
            if (take_op(p, close))
                break;
        }
        VISE_TRY(make(p, VISE_JN_ARG, &item));
        VISE_TRY(expression(p, true, &item->a));
        *tail = item;
        tail = &item->next;
    }
    return VISE_OK;
}

static vise_status dictionary(parser *p, vise_jnode **out)
{
    vise_jnode **tail;

    VISE_TRY(make(p, VISE_JN_DICT, out));
    tail = &(*out)->args;
    while (!take_op(p, "}")) {
        vise_jnode *pair;
        if (tail != &(*out)->args)
            VISE_TRY(expect_op(p, ","));
        if (tail != &(*out)->args && take_op(p, "}"))
            break;
        VISE_TRY(make(p, VISE_JN_ARG, &pair));
        VISE_TRY(expression(p, true, &pair->a));
        VISE_TRY(expect_op(p, ":"));
        VISE_TRY(expression(p, true, &pair->b));
        *tail = pair;
        tail = &pair->next;
    }
    return VISE_OK;
}

static vise_status constant_name(parser *p, bool *known, vise_jvalue *value)
{
    static const struct {
        const char *name;
        vise_jkind kind;
        bool truth;
    } names[] = {{"true", VISE_J_BOOL, true},   {"True", VISE_J_BOOL, true},  {"false", VISE_J_BOOL, false},
                 {"False", VISE_J_BOOL, false}, {"none", VISE_J_NONE, false}, {"None", VISE_J_NONE, false}};

    *known = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !*known; i++)
        if (is_word(p, names[i].name)) {
            *known = true;
            *value = (vise_jvalue){.kind = names[i].kind};
            if (names[i].kind == VISE_J_BOOL)
                value->truth = names[i].truth;
            p->at++;
        }
    return VISE_OK;
}

/* Texts side by side are one. */
static vise_status text_constant(parser *p, vise_jnode *node)
{
    const vise_jtoken *first = p->at;
    size_t length = 0;
    void *memory;
    char *text;

    for (; p->at->kind == VISE_JT_TEXT; p->at++)
        length += p->at->length;
    VISE_TRY(vise_arena_take(p->template->arena, length + 1, &memory, p->err));
    text = memory;
    node->value = vise_jtext(text, length);
    for (; first < p->at; text += first->length, first++)
        memcpy(text, first->text, first->length);
    return VISE_OK;
}

static vise_status number_constant(parser *p, vise_jnode *node)
{
    errno = 0;
    if (p->at->kind == VISE_JT_WHOLE)
        node->value = vise_jint(strtoll(p->at->text, NULL, 10));
    else
        node->value = (vise_jvalue){.kind = VISE_J_FLOAT, .number = strtod(p->at->text, NULL)};
    if (errno != 0)
        return unexpected(p, "a number of ordinary size");
    p->at++;
    return VISE_OK;
}

static vise_status primary(parser *p, vise_jnode **out)
{
    bool known, comma;

    VISE_TRY(make(p, VISE_JN_CONST, out));
    switch (p->at->kind) {
    case VISE_JT_NAME:
        VISE_TRY(constant_name(p, &known, &(*out)->value));
        if (known)
            return VISE_OK;
        (*out)->kind = VISE_JN_NAME;
        p->template->uses_date = p->template->uses_date || is_word(p, "strftime_now");
        return name_of(p, &(*out)->name);
    case VISE_JT_TEXT:
        return text_constant(p, *out);
    case VISE_JT_WHOLE:
    case VISE_JT_NUMBER:
        return number_constant(p, *out);
    default:
        break;
    }
    if (take_op(p, "[")) {
        (*out)->kind = VISE_JN_LIST;
        return items(p, "]", &comma, &(*out)->args);
    }
    if (take_op(p, "{"))
        return dictionary(p, out);
    if (!take_op(p, "("))
        return unexpected(p, "an expression");
    (*out)->kind = VISE_JN_LIST;
    (*out)->op = 1;
    VISE_TRY(items(p, ")", &comma, &(*out)->args));
    if ((*out)->args != NULL && (*out)->args->next == NULL && !comma)
        *out = (*out)->args->a;
    return VISE_OK;
}

/* Behind "[": an item or a slice. */
static vise_status subscript(parser *p, vise_jnode *of, vise_jnode **out)
{
    vise_jnode **parts[3];
    size_t n = 0;

    VISE_TRY(make_over(p, VISE_JN_ITEM, of, out));
    parts[0] = &(*out)->b;
    parts[1] = &(*out)->c;
    parts[2] = &(*out)->args;
    for (;;) {
        if (!is_op(p, ":") && !is_op(p, "]"))
            VISE_TRY(expression(p, true, parts[n]));
        if (take_op(p, "]"))
            break;
        if (n == 2 || !take_op(p, ":"))
            return unexpected(p, "]");
        (*out)->kind = VISE_JN_SLICE;
        n++;
    }
    return (*out)->kind == VISE_JN_ITEM && (*out)->b == NULL ? unexpected(p, "an index") : VISE_OK;
}

static vise_status call(parser *p, vise_jnode *callee, vise_jnode **out)
{
    VISE_TRY(make_over(p, VISE_JN_CALL, callee, out));
    return arguments(p, &(*out)->args);
}

static vise_status postfix(parser *p, vise_jnode **node)
{
    for (;;) {
        if (take_op(p, ".")) {
            vise_jnode *attribute;
            VISE_TRY(make_over(p, VISE_JN_ATTR, *node, &attribute));
            if (p->at->kind == VISE_JT_WHOLE) {
                attribute->kind = VISE_JN_ITEM;
                VISE_TRY(primary(p, &attribute->b));
            } else {
                VISE_TRY(name_of(p, &attribute->name));
            }
            *node = attribute;
        } else if (take_op(p, "[")) {
            VISE_TRY(subscript(p, *node, node));
        } else if (take_op(p, "(")) {
            VISE_TRY(call(p, *node, node));
        } else {
            return VISE_OK;
        }
    }
}

static vise_status filter(parser *p, vise_jnode **node)
{
    vise_jnode *made;

    VISE_TRY(make_over(p, VISE_JN_FILTER, *node, &made));
    made->op = p->at->kind == VISE_JT_NAME ? vise_jfilter_find(p->at->text) : 0;
    if (made->op < 0)
        return unsupported(p, "the filter", p->at->text);
    VISE_TRY(name_of(p, &made->name));
    if (take_op(p, "("))
        VISE_TRY(arguments(p, &made->args));
    *node = made;
    return VISE_OK;
}

static vise_status test(parser *p, vise_jnode **node)
{
    bool negated = take_word(p, "not");
    vise_jnode *made, *argument;

    VISE_TRY(make_over(p, VISE_JN_TEST, *node, &made));
    made->op = p->at->kind == VISE_JT_NAME ? vise_jtest_find(p->at->text) : 0;
    if (made->op < 0)
        return unsupported(p, "the test", p->at->text);
    VISE_TRY(name_of(p, &made->name));
    if (take_op(p, "(")) {
        VISE_TRY(arguments(p, &made->args));
    } else if ((p->at->kind == VISE_JT_NAME && !is_word(p, "else") && !is_word(p, "or") &&
                !is_word(p, "and") && !is_word(p, "is") && !is_word(p, "if") && !is_word(p, "not") &&
                !is_word(p, "in")) ||
               p->at->kind == VISE_JT_TEXT || p->at->kind == VISE_JT_WHOLE || p->at->kind == VISE_JT_NUMBER ||
               is_op(p, "[") || is_op(p, "{")) {
        VISE_TRY(make(p, VISE_JN_ARG, &argument));
        VISE_TRY(primary(p, &argument->a));
        VISE_TRY(postfix(p, &argument->a));
        made->args = argument;
    }
    *node = made;
    return negated ? make_over(p, VISE_JN_NOT, made, node) : VISE_OK;
}

static vise_status unary(parser *p, bool with_filter, vise_jnode **out)
{
    VISE_TRY(deeper(p));
    if (is_op(p, "-") || is_op(p, "+")) {
        int plus = is_op(p, "+");
        vise_jnode *of;
        p->at++;
        VISE_TRY(unary(p, false, &of));
        VISE_TRY(make_over(p, VISE_JN_NEGATE, of, out));
        (*out)->op = plus;
    } else {
        VISE_TRY(primary(p, out));
        VISE_TRY(postfix(p, out));
    }
    while (with_filter) {
        if (take_op(p, "|"))
            VISE_TRY(filter(p, out));
        else if (take_word(p, "is"))
            VISE_TRY(test(p, out));
        else if (take_op(p, "("))
            VISE_TRY(call(p, *out, out));
        else
            break;
    }
    p->depth--;
    return is_op(p, "**") ? unsupported(p, "the operator", "**") : VISE_OK;
}

/* Operators of one precedence, from the tightest: products, concatenation, sums. */
typedef struct level {
    const char *ops[5];
    vise_jop kinds[4];
} level;

static vise_status binary(parser *p, int of, vise_jnode **out)
{
    static const level levels[] = {
        {{"*", "/", "//", "%", NULL}, {VISE_JO_MUL, VISE_JO_DIV, VISE_JO_FLOOR, VISE_JO_MOD}},
        {{"~", NULL}, {VISE_JO_CONCAT}},
        {{"+", "-", NULL}, {VISE_JO_ADD, VISE_JO_SUB}},
    };

    if (of < 0)
        return unary(p, true, out);
    VISE_TRY(binary(p, of - 1, out));
    for (size_t i = 0; levels[of].ops[i] != NULL;) {
        vise_jnode *made;
        if (!take_op(p, levels[of].ops[i])) {
            i++;
            continue;
        }
        VISE_TRY(make_over(p, VISE_JN_BINARY, *out, &made));
        made->op = (int)levels[of].kinds[i];
        VISE_TRY(binary(p, of - 1, &made->b));
        *out = made;
        i = 0;
    }
    return VISE_OK;
}

static bool comparison(parser *p, int *op)
{
    static const struct {
        const char *text;
        vise_jop op;
    } all[] = {{"==", VISE_JO_EQ}, {"!=", VISE_JO_NE}, {"<=", VISE_JO_LE},
               {">=", VISE_JO_GE}, {"<", VISE_JO_LT},  {">", VISE_JO_GT}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (take_op(p, all[i].text)) {
            *op = (int)all[i].op;
            return true;
        }
    *op = VISE_JO_IN;
    if (take_word(p, "in"))
        return true;
    *op = VISE_JO_NOT_IN;
    if (is_word(p, "not") && p->at[1].kind == VISE_JT_NAME && strcmp(p->at[1].text, "in") == 0) {
        p->at += 2;
        return true;
    }
    return false;
}

static vise_status compare(parser *p, vise_jnode **out)
{
    vise_jnode **tail = NULL;
    int op;

    VISE_TRY(binary(p, 2, out));
    while (comparison(p, &op)) {
        vise_jnode *made, *with;
        if (tail == NULL) {
            VISE_TRY(make_over(p, VISE_JN_COMPARE, *out, &made));
            tail = &made->args;
            *out = made;
        }
        VISE_TRY(make(p, VISE_JN_ARG, &with));
        with->op = op;
        VISE_TRY(binary(p, 2, &with->a));
        *tail = with;
        tail = &with->next;
    }
    return VISE_OK;
}

static vise_status negation(parser *p, vise_jnode **out)
{
    vise_jnode *of;

    if (!take_word(p, "not"))
        return compare(p, out);
    VISE_TRY(deeper(p));
    VISE_TRY(negation(p, &of));
    p->depth--;
    return make_over(p, VISE_JN_NOT, of, out);
}

static vise_status logic(parser *p, bool or, vise_jnode **out)
{
    VISE_TRY(or ? logic(p, false, out) : negation(p, out));
    while (take_word(p, or ? "or" : "and")) {
        vise_jnode *made;
        VISE_TRY(make_over(p, or ? VISE_JN_OR : VISE_JN_AND, *out, &made));
        VISE_TRY(or ? logic(p, false, &made->b) : negation(p, &made->b));
        *out = made;
    }
    return VISE_OK;
}

static vise_status expression(parser *p, bool with_cond, vise_jnode **out)
{
    VISE_TRY(deeper(p));
    VISE_TRY(logic(p, true, out));
    while (with_cond && take_word(p, "if")) {
        vise_jnode *made;
        VISE_TRY(make_over(p, VISE_JN_COND, *out, &made));
        VISE_TRY(logic(p, true, &made->b));
        if (take_word(p, "else"))
            VISE_TRY(expression(p, true, &made->c));
        *out = made;
    }
    p->depth--;
    return VISE_OK;
}

/* Expressions with commas between them are a tuple. */
static vise_status tuple(parser *p, bool with_cond, vise_jnode **out)
{
    vise_jnode *made, **tail;

    VISE_TRY(expression(p, with_cond, out));
    if (!is_op(p, ","))
        return VISE_OK;
    VISE_TRY(make(p, VISE_JN_LIST, &made));
    made->op = 1;
    VISE_TRY(make_over(p, VISE_JN_ARG, *out, &made->args));
    tail = &made->args->next;
    while (take_op(p, ",") && p->at->kind != VISE_JT_VARIABLE_END && p->at->kind != VISE_JT_BLOCK_END) {
        VISE_TRY(make(p, VISE_JN_ARG, tail));
        VISE_TRY(expression(p, with_cond, &(*tail)->a));
        tail = &(*tail)->next;
    }
    *out = made;
    return VISE_OK;
}

/* ---- statements ------------------------------------------------------------------------------------------------ */

/* Names, with commas between them; in `set` also an attribute of one. */
static vise_status targets(parser *p, bool attributes, vise_jnode **list)
{
    bool bracket = take_op(p, "(");

    do {
        VISE_TRY(make(p, VISE_JN_NAME, list));
        VISE_TRY(name_of(p, &(*list)->name));
        if (attributes && take_op(p, ".")) {
            VISE_TRY(make(p, VISE_JN_NAME, &(*list)->a));
            (*list)->a->name = (*list)->name;
            (*list)->kind = VISE_JN_ATTR;
            VISE_TRY(name_of(p, &(*list)->name));
        }
        list = &(*list)->next;
    } while (take_op(p, ","));
    return bracket ? expect_op(p, ")") : VISE_OK;
}

static vise_status end_block(parser *p)
{
    return expect_kind(p, VISE_JT_BLOCK_END, "%}");
}

/* The body of a block up to {% end %}. */
static vise_status body(parser *p, const char *end, vise_jnode **out)
{
    const char *const ends[] = {end, NULL};

    VISE_TRY(end_block(p));
    VISE_TRY(statements(p, ends, out));
    p->at++; /* the end's name */
    return end_block(p);
}

static vise_status if_statement(parser *p, vise_jnode **out)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    vise_jnode **to = out;

    for (;;) {
        VISE_TRY(make(p, VISE_JN_IF, to));
        VISE_TRY(tuple(p, true, &(*to)->a));
        VISE_TRY(end_block(p));
        VISE_TRY(statements(p, ends, &(*to)->body));
        if (!take_word(p, "elif"))
            break;
        to = &(*to)->orelse;
    }
    if (take_word(p, "else")) {
        VISE_TRY(end_block(p));
        VISE_TRY(statements(p, last, &(*to)->orelse));
    }
    p->at++;
    return end_block(p);
}

static vise_status for_statement(parser *p, vise_jnode **out)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const last[] = {"endfor", NULL};

    VISE_TRY(make(p, VISE_JN_FOR, out));
    VISE_TRY(targets(p, false, &(*out)->args));
    if (!take_word(p, "in"))
        return unexpected(p, "in");
    VISE_TRY(tuple(p, false, &(*out)->a));
    if (take_word(p, "if"))
        VISE_TRY(expression(p, true, &(*out)->b));
    if (is_word(p, "recursive"))
        return unsupported(p, "the loop", "recursive");
    VISE_TRY(end_block(p));
    p->loops++;
    VISE_TRY(statements(p, ends, &(*out)->body));
    p->loops--;
    if (take_word(p, "else")) {
        VISE_TRY(end_block(p));
        VISE_TRY(statements(p, last, &(*out)->orelse));
    }
    p->at++;
    return end_block(p);
}

static vise_status set_statement(parser *p, vise_jnode **out)
{
    VISE_TRY(make(p, VISE_JN_SET, out));
    VISE_TRY(targets(p, true, &(*out)->args));
    if (take_op(p, "=")) {
        VISE_TRY(tuple(p, true, &(*out)->a));
        return end_block(p);
    }
    (*out)->kind = VISE_JN_SET_BLOCK;
    VISE_TRY(make(p, VISE_JN_NAME, &(*out)->a));
    (*out)->a->name = "";
    while (take_op(p, "|"))
        VISE_TRY(filter(p, &(*out)->a));
    return body(p, "endset", &(*out)->body);
}

static vise_status macro_statement(parser *p, vise_jnode **out)
{
    vise_jnode **tail;
    int loops = p->loops;

    VISE_TRY(make(p, VISE_JN_MACRO, out));
    VISE_TRY(name_of(p, &(*out)->name));
    VISE_TRY(expect_op(p, "("));
    tail = &(*out)->args;
    while (!take_op(p, ")")) {
        if (tail != &(*out)->args)
            VISE_TRY(expect_op(p, ","));
        VISE_TRY(make(p, VISE_JN_ARG, tail));
        VISE_TRY(name_of(p, &(*tail)->name));
        if (take_op(p, "="))
            VISE_TRY(expression(p, true, &(*tail)->a));
        tail = &(*tail)->next;
    }
    p->loops = 0;
    VISE_TRY(body(p, "endmacro", &(*out)->body));
    p->loops = loops;
    return VISE_OK;
}

static vise_status block_statement(parser *p, vise_jnode **out)
{
    VISE_TRY(deeper(p));
    if (take_word(p, "if")) {
        VISE_TRY(if_statement(p, out));
    } else if (take_word(p, "for")) {
        VISE_TRY(for_statement(p, out));
    } else if (take_word(p, "set")) {
        VISE_TRY(set_statement(p, out));
    } else if (take_word(p, "macro")) {
        VISE_TRY(macro_statement(p, out));
    } else if (take_word(p, "generation")) {
        VISE_TRY(make(p, VISE_JN_BLOCK, out));
        VISE_TRY(body(p, "endgeneration", &(*out)->body));
    } else if (p->loops > 0 && (is_word(p, "break") || is_word(p, "continue"))) {
        VISE_TRY(make(p, is_word(p, "break") ? VISE_JN_BREAK : VISE_JN_CONTINUE, out));
        p->at++;
        VISE_TRY(end_block(p));
    } else if (p->at->kind != VISE_JT_NAME || strncmp(p->at->text, "end", 3) == 0 || is_word(p, "else") ||
               is_word(p, "elif")) {
        return unexpected(p, "a statement");
    } else {
        return unsupported(p, "the statement", p->at->text);
    }
    p->depth--;
    return VISE_OK;
}

static bool ends_here(const parser *p, const char *const *ends)
{
    for (; ends != NULL && *ends != NULL; ends++)
        if (is_word(p, *ends))
            return true;
    return false;
}

/* Up to a block that begins with one of the ends, which is left to be read; without ends to the end of all. */
static vise_status statements(parser *p, const char *const *ends, vise_jnode **out)
{
    for (;; out = &(*out)->next) {
        switch (p->at->kind) {
        case VISE_JT_DATA:
            VISE_TRY(make(p, VISE_JN_DATA, out));
            (*out)->value = vise_jtext(p->at->text, p->at->length);
            p->at++;
            break;
        case VISE_JT_VARIABLE:
            p->at++;
            VISE_TRY(make(p, VISE_JN_OUTPUT, out));
            VISE_TRY(tuple(p, true, &(*out)->a));
            VISE_TRY(expect_kind(p, VISE_JT_VARIABLE_END, "}}"));
            break;
        case VISE_JT_BLOCK:
            p->at++;
            if (ends_here(p, ends))
                return VISE_OK;
            VISE_TRY(block_statement(p, out));
            break;
        default:
            return ends == NULL && p->at->kind == VISE_JT_END ? VISE_OK
                                                              : unexpected(p, ends ? ends[0] : "a tag");
        }
    }
}

vise_status vise_jinja_parse(const char *name, const char *text, size_t length, vise_jinja **out,
                             vise_error *err)
{
    parser p = {.err = err};
    vise_jtoken *tokens;
    vise_status status;

    *out = NULL;
    if (length > BYTES_MAX || memchr(text, '\0', length) != NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s", name,
                         length > BYTES_MAX ? "longer than 1 MB, which no chat template is" : "holds a NUL");
    VISE_TRY(vise_calloc(1, sizeof *p.template, (void **)&p.template, err));
    VISE_TRY_TO(end, vise_arena_new(&p.template->arena, err));
    VISE_TRY_TO(end, vise_arena_strdup(p.template->arena, name, strlen(name), &p.template->name, err));
    VISE_TRY_TO(end, vise_jinja_lex(p.template->arena, p.template->name, text, length, &tokens, err));
    p.at = tokens;
    VISE_TRY_TO(end, statements(&p, NULL, &p.template->body));
    *out = p.template;
    return VISE_OK;
end:
    vise_jinja_free(p.template);
    return status;
}

void vise_jinja_free(vise_jinja *template)
{
    if (template == NULL)
        return;
    vise_arena_free(template->arena);
    vise_free(template);
}

bool vise_jinja_uses_date(const vise_jinja *template)
{
    return template->uses_date;
}
