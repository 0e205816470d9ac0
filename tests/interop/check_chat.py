#!/usr/bin/env python3
"""Chat templates: texts and ids of vise beside those of transformers' apply_chat_template, for templates that write the formats
of the families in common use (written for this check, with the constructs that theirs have), and for small ones that go
through the language (tests/data/jinja-cases.json, which a unit test reads, too). --templates FOLDER adds all *.jinja of a
folder; --write-cases FILE... puts templates, from lists of JSON, and what transformers makes of them into the file of cases."""
import argparse
import datetime
import glob
import json
import os
import struct
import subprocess

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

import common
from common import EXAMPLE, ROOT, BUILD, check, path, vise

NOW = str(int(datetime.datetime.now().timestamp()))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
MARKS = ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
         "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<｜User｜>",
         "<｜Assistant｜>", "<｜end▁of▁sentence｜>"]

FAMILIES = {
    "llama-2": """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set head = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}\
{% else %}{% set rest = messages %}{% set head = '' %}{% endif %}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.first %}{% set body = head + m['content'] %}{% else %}\
{% set body = m['content'] %}{% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + body.strip() + ' [/INST]' }}{% elif m['role'] == 'assistant' %}\
{{ ' ' + body.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama-3": """{{- bos_token }}
{%- set date = date_string if date_string is defined else strftime_now("%d %b %Y") %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one tool call at a time") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", ' + '"parameters": ' }}
        {{- call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful assistant.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
    "qwen-3": """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- set ns = namespace(turns=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.turns and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.turns = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and thought)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if call.function %}{%- set call = call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
                {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- set users = rest | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for m in rest %}
    {%- if m["role"] == "user" %}
        {%- if loop.last and system is defined %}
            {{- "[INST] " + system + "\\n\\n" + m["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + m["content"] + "[/INST]" }}
        {%- endif %}
        {%- if users[-1] == m and tools is not none %}[{% for t in tools %}{{ t.function.items() | map("first") | join(", ") }}{% endfor %}]{% endif %}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {%- for call in m.tool_calls %}
            {%- set out = call.function|tojson %}
            {{- out[:-1] }}
            {%- if not call.id is defined or call.id|length != 9 %}{{- raise_exception("ids have nine characters") }}{%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
        {%- endfor %}
    {%- elif m["role"] == "assistant" %}
        {{- " " + m["content"]|trim + eos_token }}
    {%- elif m["role"] == "tool" %}
        {{- "[TOOL]" + m.content|string + "[/TOOL]" }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool roles are supported!") }}
    {%- endif %}
{%- endfor %}
""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
""",
    "phi-3": """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'user' %}{{'<|user|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'assistant' %}{% generation %}{{'<|assistant|>
' + message['content'] + '<|end|>
'}}{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}\
{% set ns = namespace(is_first=true, is_tool=false, system='') %}\
{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first %}{% set ns.system = ns.system + message['content'] %}{% set ns.is_first = false %}\
{%- else %}{% set ns.system = ns.system + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system }}\
{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}\
{%- if message['role'] == 'assistant' and message['content'] is not none and message['content'] is defined %}{% set content = message['content'] %}{% if '</think>' in content %}\
{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}\
{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{{'\\n<output>' + message['content'] + '</output>'}}{%- endif %}{%- endfor -%}\
{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}""",
    "vicuna": """{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'].strip() + '\\n' }}{% elif m['role'] == 'assistant' %}\
{{ 'ASSISTANT: ' + m['content'].strip() + eos_token + '\\n' }}{% endif %}{% endfor %}""",
    "macros": """{%- macro show(value, depth=0) -%}
{%- if value is mapping -%}{{ '{' }}{% for k, v in value | dictsort %}{{ '  ' * depth }}{{ k }}={{ show(v, depth + 1) }}{% if not loop.last %};{% endif %}{% endfor %}{{ '}' }}
{%- elif value is sequence and value is not string -%}{% for v in value %}{{ show(v) }}{{ "," if loop.nextitem is defined }}{% endfor %}
{%- else -%}{{ value | string }}{%- endif -%}
{%- endmacro -%}
{%- set rendered %}{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}:{{ show(m) }}
{% else %}nothing{% endfor %}{% endset -%}
{{ rendered | trim }} {{ messages | map(attribute='role') | join('|') }} {{ messages | rejectattr('role', 'in', ['user']) | list | count }}
{%- for m in messages %}{% if loop.index > 3 %}{% break %}{% elif m.role == 'system' %}{% continue %}{% endif %} {{ m.role | upper }}{% endfor %}""",
}

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Get \"the\" weather\nnow", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "enum": [1, 2]}}, "required": ["city"]}}}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": {
    "city": "Paris", "f": 1.5, "t": True, "n": None, "l": ["a", 1]}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


CONVERSATIONS = [
    {"messages": [user("Hello")]},
    {"messages": [user("Hello"), assistant("Hi there!")]},
    {"messages": [{"role": "system", "content": "You are helpful. "}, user("  Hello\n"), assistant(" Hi! \n"),
                  user("Bye — ünïcödé 中文 🙂"), assistant("'q' \"d\" <b>&amp;")]},
    {"messages": [user("one"), user("two")]},
    {"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, user("x"), assistant("y")]},
    {"messages": [{"role": "system", "content": ""}, user("x" * 300), assistant("a\u200bb\u00a0c\r\n\td\u0301")]},
    {"messages": [user("a"), assistant("<think>why\n</think>\n\nanswer"), user("c"),
                  assistant("<think>\nsince</think>d")]},
    {"messages": [user("a"), assistant("answer", reasoning_content="because\n"), user("c"),
                  assistant("d", thinking="hm")]},
    {"messages": [user(""), assistant("")]},
    {"messages": [user([{"type": "image"}, {"type": "text", "text": " part "}]),
                  assistant([{"type": "text", "text": "ok"}])]},
    {"messages": [user("weather?"), assistant(None, tool_calls=[CALL]),
                  {"role": "tool", "name": "get_weather", "content": "{\"temp\": 21}"}, assistant("21")], "tools": [TOOL]},
    {"messages": [user("hi </s> <s> [INST] <|im_end|>"), assistant("yo")],
     "chat_template_kwargs": {"add_generation_prompt": True, "enable_thinking": False, "date_string": "1 Jan 2020"}},
    {"messages": [{"role": "odd", "content": "?"}, user("x")]},
]


CASES = os.path.join(ROOT, "tests/data/jinja-cases.json")
CONTEXT = {"messages": CONVERSATIONS[2]["messages"], "tools": None, "documents": None, "add_generation_prompt": False,
           "tool": TOOL, "bos_token": "<s>", "eos_token": "</s>"}


def rendered(template):
    """By transformers' own environment; None: refused."""
    own = "messages", "tools", "documents", "add_generation_prompt"
    context = {key: value for key, value in CONTEXT.items() if key not in own}
    try:
        return render_jinja_template([CONTEXT["messages"]], chat_template=template, **context)[0][0]
    except Exception:
        return None


def write_cases(files):
    templates = [case["template"] for case in json.load(open(CASES))["cases"]] if os.path.exists(CASES) else []
    for name in files:
        with open(name, encoding="utf-8") as file:
            templates += json.load(file)
    cases = [{"template": template, "text": rendered(template)} for template in dict.fromkeys(templates)]
    with open(CASES, "w", encoding="utf-8") as file:
        file.write('{"context": ' + json.dumps(CONTEXT) + ',\n "cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")


def the_language():
    """What the unit test expects is what transformers gives today."""
    with open(CASES, encoding="utf-8") as file:
        content = json.load(file)
    wrong = [case["template"] for case in content["cases"] if rendered(case["template"]) != case["text"]]
    return content["context"] == CONTEXT and not wrong, \
        f"{len(content['cases'])} of the language" + (f", others than in the file: {wrong}" if wrong else "")


def build():
    program = path("tokenize")
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-I" + ROOT,
                    os.path.join(ROOT, "tests/interop/tokenize_main.c"), os.path.join(BUILD, "libvise.a"), "-lcjson", "-lzstd",
                    "-lutf8proc", "-lpcre2-8", "-lm", "-lpthread", "-ldl", "-o", program], check=True)
    return program


def make_folder(marks=()):
    folder = path("chat")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(EXAMPLE, "tokenizer.json"), encoding="utf-8") as file:
        content = json.load(file)
    first = 1 + max(content["model"]["vocab"].values())
    content["added_tokens"] += [{"id": first + i, "content": mark, "single_word": False, "lstrip": False, "rstrip": False,
                                 "normalized": False, "special": True} for i, mark in enumerate(marks)]
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({**TOKENS, "bos_token": {"content": "<s>", "__type": "AddedToken"}, "sep_token": None}, file)
    return folder


def theirs_of(tokenizer, conversation, template):
    options = dict(conversation.get("chat_template_kwargs", {}), chat_template=template, tools=conversation.get("tools"))
    text = tokenizer.apply_chat_template(conversation["messages"], tokenize=False, **options)
    return text, tokenizer.apply_chat_template(conversation["messages"], return_dict=False, **options)


def compare(program, folder, tokenizer, template, conversations):
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8", newline="") as file:
        file.write(template)
    lines = [json.dumps(c).encode() for c in conversations]
    run = subprocess.run([program, "chat", folder], input=b"".join(struct.pack("<Q", len(l)) + l for l in lines),
                         capture_output=True, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": NOW})
    ours = run.stdout.decode().split("\n")
    refused = unsupported = 0
    for i, conversation in enumerate(conversations):
        text, ids = ours[2 * i:2 * i + 2]
        try:
            wanted = theirs_of(tokenizer, conversation, template)
        except Exception:
            wanted = None
        if text.startswith("error: "):
            unsupported += wanted is not None and "not supported" in text
            refused += 1
            if wanted is not None and "not supported" not in text:
                return False, f"conversation {i}: {text}, theirs {wanted[0]!r}"
        elif wanted is None or json.loads(text) != wanted[0] or list(map(int, ids.split())) != wanted[1]:
            return False, f"conversation {i}: {text}, theirs {json.dumps(wanted[0], ensure_ascii=False) if wanted else 'refused'}"
    return True, f"{len(conversations)} conversations, {refused - unsupported} refused on both sides" + \
        (f", {unsupported} only by vise" if unsupported else "")


def through_eval():
    """A .jsonl of messages gives what one of apply_chat_template's input_ids gives, and so does calibration."""
    folder = path("model")
    subprocess.run(["cp", "-r", EXAMPLE, folder], check=True)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({**TOKENS, "chat_template": FAMILIES["llama-2"]}, file)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), **TOKENS)
    with open(path("messages.jsonl"), "w") as messages, open(path("ids.jsonl"), "w") as ids:
        for i in range(40):
            story = "Once upon a time there was a number. It was " + "very " * (i % 7) + "small."
            conversation = {"messages": [user(f"Tell me a story about number {i}."), assistant(story)]}
            messages.write(json.dumps(conversation) + "\n")
            ids.write(json.dumps({"input_ids": theirs_of(tokenizer, conversation, FAMILIES["llama-2"])[1]}) + "\n")
    figures = [json.loads(vise("eval", folder, "--text", path(name), "--length", 64, "--json"))["accuracy"]
               for name in ("messages.jsonl", "ids.jsonl")]
    bits = [f.pop("bits_per_byte", None) for f in figures]
    names = [f.pop("text") for f in figures]
    for name in names:
        vise("quant", folder, "-o", path("q-" + os.path.basename(name)), "--scheme", "int4-g32", "--otherwise", "int8-channel",
             "--calibration", name, "--length", 64, "--samples", 8)
    with open(path("q-messages.jsonl/model.safetensors"), "rb") as a, open(path("q-ids.jsonl/model.safetensors"), "rb") as b:
        same = a.read() == b.read()
    return figures[0] == figures[1] and bits[0] is not None and bits[1] is None and same, \
        f"{figures[0]['tokens']} tokens, perplexity {figures[0]['perplexity']['after']:.4f} and " \
        f"{figures[1]['perplexity']['after']:.4f}, calibrated weights {'equal' if same else 'differ'}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", help="a folder of *.jinja to compare, too")
    parser.add_argument("--write-cases", nargs="*", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.write_cases is not None:
        return write_cases(arguments.write_cases)
    program = build()
    folder = make_folder(MARKS)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), **TOKENS)
    for name, template in FAMILIES.items():
        check(f"chat template {name}", compare, program, folder, tokenizer, template, CONVERSATIONS)
    check("chat templates, small ones", the_language)
    pattern = os.path.join(arguments.templates, "**/*.jinja") if arguments.templates else ""
    for name in sorted(glob.glob(pattern, recursive=True)):
        with open(name, encoding="utf-8", newline="") as file:
            check(f"chat template {os.path.basename(name)}", compare, program, folder, tokenizer, file.read(), CONVERSATIONS)
    check("messages in evaluation and calibration", through_eval)
    common.finish()


main()
