/* Templates at work: expressions and statements. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_internal.h"

#define DEPTH_MAX 400
#define ARGS_MAX  32

vise_status vise_jfail(vise_jrun *run, vise_status status, const char *file, int line, const char *format,
                       ...)
{
    char text[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return vise_fail(run->err, status, file, line, "%s line %d: %s", run->name, run->line, text);
}

static vise_status evaluate(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out);
static vise_status execute(vise_jrun *run, vise_jframe *frame, const vise_jnode *n);

/* ---- names ----------------------------------------------------------------------------------------------------- */

static struct vise_jvariable *find_in(const vise_jframe *frame, const char *name)
{
    for (size_t i = frame->count; i-- > 0;)
        if (strcmp(frame->variables[i].name, name) == 0)
            return &frame->variables[i];
    return NULL;
}

static void look_up(vise_jrun *run, const vise_jframe *frame, const char *name, vise_jvalue *out)
{
    static const struct {
        const char *name;
        vise_jfunction function;
    } functions[] = {{"raise_exception", VISE_JF_RAISE},
                     {"range", VISE_JF_RANGE},
                     {"namespace", VISE_JF_NAMESPACE},
                     {"dict", VISE_JF_DICT},
                     {"strftime_now", VISE_JF_STRFTIME}};

    for (; frame != NULL; frame = frame->parent) {
        const struct vise_jvariable *variable = find_in(frame, name);
        vise_jwork(run, frame->count);
        if (variable != NULL) {
            *out = variable->value;
            return;
        }
    }
    *out = (vise_jvalue){.kind = VISE_J_UNDEFINED};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(functions[i].name, name) == 0)
            *out = (vise_jvalue){.kind = VISE_J_FUNCTION, .function = functions[i].function};
}

static vise_status assign(vise_jrun *run, vise_jframe *frame, const char *name, vise_jvalue value)
{
    struct vise_jvariable *variable = find_in(frame, name);

    vise_jwork(run, frame->count);
    if (variable == NULL) {
        VISE_TRY(vise_jgrow(run, (void **)&frame->variables, &frame->capacity, frame->count + 1,
                            sizeof *frame->variables));
        variable = &frame->variables[frame->count++];
        variable->name = name;
    }
    variable->value = value;
    return VISE_OK;
}

/* A frame lives on: macros keep the one in which they are defined. */
static vise_status new_frame(vise_jrun *run, vise_jframe *parent, vise_jframe **out)
{
    void *memory;

    VISE_TRY(vise_jtake(run, sizeof **out, &memory));
    *out = memory;
    (*out)->parent = parent;
    return VISE_OK;
}

/* ---- calls ----------------------------------------------------------------------------------------------------- */

static vise_status evaluate_arguments(vise_jrun *run, vise_jframe *frame, const vise_jnode *list,
                                      vise_jarguments *arguments)
{
    size_t count = 0;
    void *memory;

    *arguments = (vise_jarguments){0};
    for (const vise_jnode *each = list; each != NULL; each = each->next)
        count++;
    if (count == 0)
        return VISE_OK;
    if (count > ARGS_MAX)
        return VISE_JFAIL(run, VISE_EFORMAT, "more than %d arguments", ARGS_MAX);
    VISE_TRY(vise_jtake(run, count * sizeof *arguments->values, &memory));
    arguments->values = memory;
    VISE_TRY(vise_jtake(run, count * sizeof *arguments->names, &memory));
    arguments->names = memory;
    for (; list != NULL; list = list->next) {
        arguments->names[arguments->count] = list->name;
        VISE_TRY(evaluate(run, frame, list->a, &arguments->values[arguments->count++]));
    }
    return VISE_OK;
}

/* What a body writes, as a text. */
static vise_status capture(vise_jrun *run, vise_jframe *frame, const vise_jnode *body, vise_jvalue *out)
{
    vise_buf *before = run->out, buf;
    vise_status status;

    vise_buf_init(&buf, VISE_JBYTES_MAX);
    run->out = &buf;
    status = execute(run, frame, body);
    run->out = before;
    if (status == VISE_OK)
        status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

static vise_status call_macro(vise_jrun *run, const vise_jvalue *macro, const vise_jarguments *arguments,
                              vise_jvalue *out)
{
    const vise_jnode *definition = macro->macro;
    size_t index = 0, used = 0;
    vise_jframe *frame;

    VISE_TRY(new_frame(run, macro->frame, &frame));
    for (const vise_jnode *param = definition->args; param != NULL; param = param->next, index++) {
        vise_jvalue value = {.kind = VISE_J_UNDEFINED};
        bool given = false;
        for (size_t i = 0; i < arguments->count; i++)
            if (arguments->names[i] == NULL ? i == index : strcmp(arguments->names[i], param->name) == 0) {
                value = arguments->values[i];
                given = true;
                used++;
            }
        if (!given && param->a != NULL)
            VISE_TRY(evaluate(run, frame, param->a, &value));
        VISE_TRY(assign(run, frame, param->name, value));
    }
    if (used < arguments->count)
        return VISE_JFAIL(run, VISE_EFORMAT, "the macro \"%.60s\" has no such argument", definition->name);
    return capture(run, frame, definition->body, out);
}

static vise_status call(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    vise_jvalue callee, of;
    vise_jarguments arguments;

    if (n->a->kind == VISE_JN_ATTR) {
        VISE_TRY(evaluate(run, frame, n->a->a, &of));
        if (vise_jmethod_known(&of, n->a->name)) {
            VISE_TRY(evaluate_arguments(run, frame, n->args, &arguments));
            return vise_jmethod_run(run, &of, n->a->name, &arguments, out);
        }
        VISE_TRY(vise_jattribute(run, &of, n->a->name, &callee));
    } else {
        VISE_TRY(evaluate(run, frame, n->a, &callee));
    }
    VISE_TRY(evaluate_arguments(run, frame, n->args, &arguments));
    if (callee.kind == VISE_J_MACRO)
        return call_macro(run, &callee, &arguments, out);
    if (callee.kind == VISE_J_FUNCTION)
        return vise_jfunction_run(run, callee.function, &arguments, out);
    return VISE_JFAIL(run, callee.kind == VISE_J_UNDEFINED ? VISE_EUNSUPPORTED : VISE_EFORMAT,
                      "\"%.60s\" is called, which is %s", n->a->name != NULL ? n->a->name : "",
                      vise_jkind_name(&callee));
}

/* ---- expressions ----------------------------------------------------------------------------------------------- */

static vise_status compare(vise_jrun *run, vise_jop op, const vise_jvalue *a, const vise_jvalue *b, bool *out)
{
    int order;

    switch (op) {
    case VISE_JO_EQ:
    case VISE_JO_NE:
        *out = vise_jequal(run, a, b) == (op == VISE_JO_EQ);
        return VISE_OK;
    case VISE_JO_IN:
    case VISE_JO_NOT_IN:
        VISE_TRY(vise_jcontains(run, b, a, out));
        *out = *out == (op == VISE_JO_IN);
        return VISE_OK;
    default:
        VISE_TRY(vise_jcompare(run, a, b, &order));
        *out = op == VISE_JO_LT   ? order < 0
               : op == VISE_JO_LE ? order <= 0
               : op == VISE_JO_GT ? order > 0
                                  : order >= 0;
        return VISE_OK;
    }
}

static vise_status compare_chain(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    vise_jvalue left, right;
    bool yes = true;

    VISE_TRY(evaluate(run, frame, n->a, &left));
    for (const vise_jnode *with = n->args; with != NULL && yes; with = with->next) {
        VISE_TRY(evaluate(run, frame, with->a, &right));
        VISE_TRY(compare(run, (vise_jop)with->op, &left, &right, &yes));
        left = right;
    }
    *out = vise_jbool(yes);
    return VISE_OK;
}

static vise_status make_list(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    vise_jvalue item, key;

    VISE_TRY(n->kind == VISE_JN_LIST ? vise_jnew_list(run, n->op == 1, out) : vise_jnew_dict(run, out));
    for (const vise_jnode *each = n->args; each != NULL; each = each->next) {
        VISE_TRY(evaluate(run, frame, each->a, &item));
        if (n->kind == VISE_JN_LIST) {
            VISE_TRY(vise_jappend(run, out->list, item));
            continue;
        }
        key = item;
        VISE_TRY(evaluate(run, frame, each->b, &item));
        VISE_TRY(vise_jput(run, out->dict, key, item));
    }
    return VISE_OK;
}

static vise_status item_of(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    vise_jvalue of, parts[3] = {{.kind = VISE_J_NONE}, {.kind = VISE_J_NONE}, {.kind = VISE_J_NONE}};
    const vise_jnode *nodes[3] = {n->b, n->c, n->args};

    VISE_TRY(evaluate(run, frame, n->a, &of));
    for (int i = 0; i < 3; i++)
        if (nodes[i] != NULL)
            VISE_TRY(evaluate(run, frame, nodes[i], &parts[i]));
    if (n->kind == VISE_JN_SLICE)
        return vise_jslice(run, &of, &parts[0], &parts[1], &parts[2], out);
    return vise_jitem(run, &of, &parts[0], out);
}

static vise_status negate(vise_jrun *run, const vise_jnode *n, vise_jvalue *value)
{
    const vise_jvalue zero = vise_jint(0), of = *value;

    if (of.kind == VISE_J_FLOAT) { /* 0 - 0.0 has the other sign */
        value->number = n->op == 1 ? of.number : -of.number;
        return VISE_OK;
    }
    return vise_jarithmetic(run, n->op == 1 ? VISE_JO_ADD : VISE_JO_SUB, &zero, &of, value);
}

static vise_status filter_or_test(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    vise_jvalue value;
    vise_jarguments arguments;
    bool yes;

    VISE_TRY(evaluate(run, frame, n->a, &value));
    VISE_TRY(evaluate_arguments(run, frame, n->args, &arguments));
    run->line = n->line;
    if (n->kind == VISE_JN_FILTER)
        return vise_jfilter_run(run, n->op, &value, &arguments, out);
    VISE_TRY(vise_jtest_run(run, n->op, &value, &arguments, &yes));
    *out = vise_jbool(yes);
    return VISE_OK;
}

static vise_status evaluate_node(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    vise_jvalue left, right;

    switch (n->kind) {
    case VISE_JN_CONST:
        *out = n->value;
        return VISE_OK;
    case VISE_JN_NAME:
        look_up(run, frame, n->name, out);
        return VISE_OK;
    case VISE_JN_LIST:
    case VISE_JN_DICT:
        return make_list(run, frame, n, out);
    case VISE_JN_ATTR:
        VISE_TRY(evaluate(run, frame, n->a, &left));
        return vise_jattribute(run, &left, n->name, out);
    case VISE_JN_ITEM:
    case VISE_JN_SLICE:
        return item_of(run, frame, n, out);
    case VISE_JN_CALL:
        return call(run, frame, n, out);
    case VISE_JN_FILTER:
    case VISE_JN_TEST:
        return filter_or_test(run, frame, n, out);
    case VISE_JN_NOT:
        VISE_TRY(evaluate(run, frame, n->a, &left));
        *out = vise_jbool(!vise_jtruth(&left));
        return VISE_OK;
    case VISE_JN_NEGATE:
        VISE_TRY(evaluate(run, frame, n->a, out));
        return negate(run, n, out);
    case VISE_JN_BINARY:
        VISE_TRY(evaluate(run, frame, n->a, &left));
        VISE_TRY(evaluate(run, frame, n->b, &right));
        return vise_jarithmetic(run, (vise_jop)n->op, &left, &right, out);
    case VISE_JN_AND:
    case VISE_JN_OR:
        VISE_TRY(evaluate(run, frame, n->a, out));
        return vise_jtruth(out) == (n->kind == VISE_JN_AND) ? evaluate(run, frame, n->b, out) : VISE_OK;
    case VISE_JN_COMPARE:
        return compare_chain(run, frame, n, out);
    case VISE_JN_COND:
        VISE_TRY(evaluate(run, frame, n->b, &left));
        if (vise_jtruth(&left))
            return evaluate(run, frame, n->a, out);
        *out = (vise_jvalue){.kind = VISE_J_UNDEFINED};
        return n->c != NULL ? evaluate(run, frame, n->c, out) : VISE_OK;
    default:
        return VISE_JFAIL(run, VISE_EINTERNAL, "a statement where an expression is");
    }
}

static vise_status endless(vise_jrun *run)
{
    return VISE_JFAIL(run, VISE_EFORMAT, "the chat template takes too many steps");
}

/* One more level of nodes within nodes, and one more step. */
static vise_status enter(vise_jrun *run, const vise_jnode *n)
{
    run->line = n->line;
    if (++run->depth > DEPTH_MAX)
        return VISE_JFAIL(run, VISE_EFORMAT, "the chat template calls itself, or nests, more than %d deep",
                          DEPTH_MAX);
    return vise_jwork(run, VISE_JNODE_WORK) ? VISE_OK : endless(run);
}

static vise_status evaluate(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jvalue *out)
{
    VISE_TRY(enter(run, n));
    vise_status status = evaluate_node(run, frame, n, out);
    run->depth--;
    return status;
}

/* ---- statements ------------------------------------------------------------------------------------------------ */

/* Gives a value to a name, to an attribute of a namespace, or the parts of a list to several. */
static vise_status give(vise_jrun *run, vise_jframe *frame, const vise_jnode *targets,
                        const vise_jvalue *value)
{
    vise_jlist *list = NULL;
    size_t i = 0;

    if (targets->next != NULL)
        VISE_TRY(vise_jiterate(run, value, &list));
    for (const vise_jnode *target = targets; target != NULL; target = target->next, i++) {
        vise_jvalue part = *value, namespace;
        if (list != NULL && i >= list->count)
            break;
        if (list != NULL)
            part = list->items[i];
        if (target->kind == VISE_JN_NAME) {
            VISE_TRY(assign(run, frame, target->name, part));
            continue;
        }
        look_up(run, frame, target->a->name, &namespace);
        if (namespace.kind != VISE_J_DICT || !namespace.dict->namespace)
            return VISE_JFAIL(run, VISE_EFORMAT, "\"%.60s\" is no namespace", target->a->name);
        VISE_TRY(vise_jput(run, namespace.dict, vise_jliteral(target->name), part));
    }
    if (list != NULL && i != list->count)
        return VISE_JFAIL(run, VISE_EFORMAT, "%zu values for another number of names", list->count);
    return VISE_OK;
}

/* `loop` of iteration i. */
static vise_status loop_variable(vise_jrun *run, const vise_jlist *list, size_t i, vise_jvalue *out)
{
    const int64_t index = (int64_t)i, count = (int64_t)list->count;
    const vise_jvalue none = {.kind = VISE_J_UNDEFINED};
    const struct {
        const char *name;
        vise_jvalue value;
    } parts[] = {{"index0", vise_jint(index)},
                 {"index", vise_jint(index + 1)},
                 {"first", vise_jbool(index == 0)},
                 {"last", vise_jbool(index + 1 == count)},
                 {"length", vise_jint(count)},
                 {"revindex", vise_jint(count - index)},
                 {"revindex0", vise_jint(count - index - 1)},
                 {"previtem", i > 0 ? list->items[i - 1] : none},
                 {"nextitem", i + 1 < list->count ? list->items[i + 1] : none}};

    VISE_TRY(vise_jnew_dict(run, out));
    out->dict->namespace = true;
    VISE_TRY(vise_jgrow(run, (void **)&out->dict->entries, &out->dict->capacity,
                        sizeof parts / sizeof parts[0], sizeof *out->dict->entries));
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++)
        if (parts[k].value.kind != VISE_J_UNDEFINED)
            VISE_TRY(vise_jput(run, out->dict, vise_jliteral(parts[k].name), parts[k].value));
    return VISE_OK;
}

/* The items that the loop's condition lets through. */
static vise_status choose(vise_jrun *run, vise_jframe *frame, const vise_jnode *n, vise_jlist *all,
                          vise_jlist **chosen)
{
    vise_jvalue list, yes;
    vise_jframe *inner;

    *chosen = all;
    if (n->b == NULL)
        return VISE_OK;
    VISE_TRY(vise_jnew_list(run, false, &list));
    for (size_t i = 0; i < all->count; i++) {
        VISE_TRY(new_frame(run, frame, &inner));
        VISE_TRY(give(run, inner, n->args, &all->items[i]));
        VISE_TRY(evaluate(run, inner, n->b, &yes));
        if (vise_jtruth(&yes))
            VISE_TRY(vise_jappend(run, list.list, all->items[i]));
    }
    *chosen = list.list;
    return VISE_OK;
}

static vise_status for_loop(vise_jrun *run, vise_jframe *frame, const vise_jnode *n)
{
    vise_jvalue value;
    vise_jlist *list;
    vise_jframe *inner;

    VISE_TRY(evaluate(run, frame, n->a, &value));
    VISE_TRY(vise_jiterate(run, &value, &list));
    VISE_TRY(choose(run, frame, n, list, &list));
    if (list->count == 0) {
        VISE_TRY(new_frame(run, frame, &inner));
        return execute(run, inner, n->orelse);
    }
    for (size_t i = 0; i < list->count && run->jump != 1; i++) {
        run->jump = 0;
        VISE_TRY(new_frame(run, frame, &inner));
        VISE_TRY(loop_variable(run, list, i, &value));
        VISE_TRY(assign(run, inner, "loop", value));
        VISE_TRY(give(run, inner, n->args, &list->items[i]));
        VISE_TRY(execute(run, inner, n->body));
    }
    run->jump = 0;
    return VISE_OK;
}

static vise_status set_block(vise_jrun *run, vise_jframe *frame, const vise_jnode *n)
{
    vise_jvalue text, value;
    vise_jframe *inner;

    VISE_TRY(new_frame(run, frame, &inner));
    VISE_TRY(capture(run, inner, n->body, &text));
    VISE_TRY(new_frame(run, frame, &inner));
    VISE_TRY(assign(run, inner, "", text));
    VISE_TRY(evaluate(run, inner, n->a, &value));
    return give(run, frame, n->args, &value);
}

static vise_status if_chain(vise_jrun *run, vise_jframe *frame, const vise_jnode *n)
{
    vise_jvalue value;

    for (;;) {
        VISE_TRY(evaluate(run, frame, n->a, &value));
        if (vise_jtruth(&value))
            return execute(run, frame, n->body);
        if (n->orelse == NULL)
            return VISE_OK;
        if (n->orelse->kind != VISE_JN_IF || n->orelse->next != NULL)
            return execute(run, frame, n->orelse);
        n = n->orelse;
    }
}

static vise_status execute_node(vise_jrun *run, vise_jframe *frame, const vise_jnode *n)
{
    vise_jvalue value;
    vise_jframe *inner;

    switch (n->kind) {
    case VISE_JN_DATA:
        vise_buf_add(run->out, n->value.text, n->value.length);
        return VISE_OK;
    case VISE_JN_OUTPUT:
        VISE_TRY(evaluate(run, frame, n->a, &value));
        return vise_jprint(run, &value, run->out);
    case VISE_JN_IF:
        return if_chain(run, frame, n);
    case VISE_JN_FOR:
        return for_loop(run, frame, n);
    case VISE_JN_SET:
        VISE_TRY(evaluate(run, frame, n->a, &value));
        return give(run, frame, n->args, &value);
    case VISE_JN_SET_BLOCK:
        return set_block(run, frame, n);
    case VISE_JN_MACRO:
        value = (vise_jvalue){.kind = VISE_J_MACRO, .macro = n, .frame = frame};
        return assign(run, frame, n->name, value);
    case VISE_JN_BLOCK:
        VISE_TRY(new_frame(run, frame, &inner));
        return execute(run, inner, n->body);
    default:
        run->jump = n->kind == VISE_JN_BREAK ? 1 : 2;
        return VISE_OK;
    }
}

static vise_status execute(vise_jrun *run, vise_jframe *frame, const vise_jnode *n)
{
    for (; n != NULL && run->jump == 0; n = n->next) {
        size_t before = run->out->length;
        VISE_TRY(enter(run, n));
        VISE_TRY(execute_node(run, frame, n));
        run->depth--;
        if (run->out->failed)
            return VISE_JFAIL(run, VISE_EFORMAT, "the chat template writes more than %zu MB",
                              run->out->max >> 20);
        if (n->kind == VISE_JN_DATA || n->kind == VISE_JN_OUTPUT)
            VISE_TRY(vise_jspend(run, run->out->length - before));
    }
    return VISE_OK;
}

vise_status vise_jinja_render(vise_jinja *template, const cJSON *context, vise_buf *out, vise_error *err)
{
    vise_jrun run = {.name = template->name, .out = out, .err = err};
    const cJSON *item;
    vise_jframe *outer;
    vise_jvalue value;
    vise_status status;

    VISE_TRY(vise_arena_new(&run.arena, err));
    VISE_TRY_TO(end, new_frame(&run, NULL, &outer));
    cJSON_ArrayForEach(item, context)
    {
        VISE_TRY_TO(end, vise_jfrom_json(&run, item, &value));
        VISE_TRY_TO(end, assign(&run, outer, item->string, value));
    }
    status = execute(&run, outer, template->body);
    if (status == VISE_OK && !vise_jwork(&run, 0))
        status = endless(&run);
end:
    vise_arena_free(run.arena);
    return status;
}
