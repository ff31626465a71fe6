//! Templates for the formats that llama.cpp knows by name (`LLM_CHAT_TEMPLATES` in `src/llama-chat.cpp`).

/// Names and templates.
pub(crate) const TEMPLATES: [(&str, &str); 54] = [
    (
        "chatml",
        "{% for message in messages %}\
         {{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "llama2",
        "{% set turn = namespace(open=true) %}{{ '[INST] ' }}{% for message in messages %}\
         {% if not turn.open %}{% set turn.open = true %}{{ '[INST] ' }}{% endif %}\
         {% if message.role == 'system' %}{{ message.content ~ '\\n' }}\
         {% elif message.role == 'user' %}{{ message.content ~ ' [/INST]' }}{% else %}\
         {{ message.content ~ '</s>' }}{% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "llama2-sys",
        "{% set turn = namespace(open=true) %}{{ '[INST] ' }}{% for message in messages %}\
         {% if not turn.open %}{% set turn.open = true %}{{ '[INST] ' }}{% endif %}\
         {% if message.role == 'system' %}\
         {{ '<<SYS>>\\n' ~ message.content ~ '\\n<</SYS>>\\n\\n' }}\
         {% elif message.role == 'user' %}{{ message.content ~ ' [/INST]' }}{% else %}\
         {{ message.content ~ '</s>' }}{% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "llama2-sys-bos",
        "{% set turn = namespace(open=true) %}{{ '[INST] ' }}{% for message in messages %}\
         {% if not turn.open %}{% set turn.open = true %}{{ '<s>[INST] ' }}{% endif %}\
         {% if message.role == 'system' %}\
         {{ '<<SYS>>\\n' ~ message.content ~ '\\n<</SYS>>\\n\\n' }}\
         {% elif message.role == 'user' %}{{ message.content ~ ' [/INST]' }}{% else %}\
         {{ message.content ~ '</s>' }}{% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "llama2-sys-strip",
        "{% set turn = namespace(open=true) %}{{ '[INST] ' }}{% for message in messages %}\
         {% if not turn.open %}{% set turn.open = true %}{{ '[INST] ' }}{% endif %}\
         {% if message.role == 'system' %}\
         {{ '<<SYS>>\\n' ~ (message.content | trim) ~ '\\n<</SYS>>\\n\\n' }}\
         {% elif message.role == 'user' %}{{ (message.content | trim) ~ ' [/INST]' }}{% else %}\
         {{ (message.content | trim) ~ '</s>' }}{% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "mistral-v1",
        "{% set turn = namespace(open=false) %}{% for message in messages %}{% if not turn.open %}\
         {% set turn.open = true %}{{ ' [INST] ' }}{% endif %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ message.content ~ ' [/INST]' }}{% else %}{{ ' ' ~ message.content ~ '</s>' }}\
         {% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "mistral-v3",
        "{% set turn = namespace(open=false) %}{% for message in messages %}{% if not turn.open %}\
         {% set turn.open = true %}{{ '[INST] ' }}{% endif %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ message.content ~ '[/INST]' }}{% else %}{{ ' ' ~ (message.content | trim) ~ '</s>' }}\
         {% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "mistral-v3-tekken",
        "{% set turn = namespace(open=false) %}{% for message in messages %}{% if not turn.open %}\
         {% set turn.open = true %}{{ '[INST]' }}{% endif %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ message.content ~ '[/INST]' }}{% else %}{{ message.content ~ '</s>' }}\
         {% set turn.open = false %}{% endif %}{% endfor %}",
    ),
    (
        "mistral-v7",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '[SYSTEM_PROMPT] ' ~ message.content ~ '[/SYSTEM_PROMPT]' }}\
         {% elif message.role == 'user' %}{{ '[INST] ' ~ message.content ~ '[/INST]' }}{% else %}\
         {{ ' ' ~ message.content ~ '</s>' }}{% endif %}{% endfor %}",
    ),
    (
        "mistral-v7-tekken",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '[SYSTEM_PROMPT]' ~ message.content ~ '[/SYSTEM_PROMPT]' }}\
         {% elif message.role == 'user' %}{{ '[INST]' ~ message.content ~ '[/INST]' }}{% else %}\
         {{ message.content ~ '</s>' }}{% endif %}{% endfor %}",
    ),
    (
        "phi3",
        "{% for message in messages %}\
         {{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '<|end|>\\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "phi4",
        "{% for message in messages %}\
         {{ '<|im_start|>' ~ message.role ~ '<|im_sep|>' ~ message.content ~ '<|im_end|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}\
         {% endif %}",
    ),
    (
        "falcon3",
        "{% for message in messages %}{{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '\\n' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "zephyr",
        "{% for message in messages %}\
         {{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '<|endoftext|>\\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "monarch",
        "{% for message in messages %}{% if not loop.first %}{{ '<s>' }}{% endif %}\
         {{ message.role ~ '\\n' ~ message.content ~ '</s>\\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}",
    ),
    (
        "gemma",
        "{% set before = namespace(text='') %}{% for message in messages %}\
         {% if message.role == 'system' %}\
         {% set before.text = before.text ~ (message.content | trim) %}{% else %}\
         {{ '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\\n' }}\
         {% if before.text and message.role != 'assistant' %}{{ before.text ~ '\\n\\n' }}\
         {% set before.text = '' %}{% endif %}{{ (message.content | trim) ~ '<end_of_turn>\\n' }}\
         {% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}\
         {% endif %}",
    ),
    (
        "orion",
        "{% set before = namespace(text='') %}{% for message in messages %}\
         {% if message.role == 'system' %}{% set before.text = before.text ~ message.content %}\
         {% elif message.role == 'user' %}{{ 'Human: ' }}{% if before.text %}\
         {{ before.text ~ '\\n\\n' }}{% set before.text = '' %}{% endif %}\
         {{ message.content ~ '\\n\\nAssistant: </s>' }}{% else %}{{ message.content ~ '</s>' }}\
         {% endif %}{% endfor %}",
    ),
    (
        "openchat",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ message.content ~ '<|end_of_turn|>' }}{% else %}\
         {{ 'GPT4 Correct ' ~ message.role[:1] | upper ~ message.role[1:] ~ ': ' ~ message.content ~ '<|end_of_turn|>' }}\
         {% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}\
         {% endif %}",
    ),
    (
        "vicuna",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ 'USER: ' ~ message.content ~ '\\n' }}{% elif message.role == 'assistant' %}\
         {{ 'ASSISTANT: ' ~ message.content ~ '</s>\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    ),
    (
        "vicuna-orca",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ 'SYSTEM: ' ~ message.content ~ '\\n' }}{% elif message.role == 'user' %}\
         {{ 'USER: ' ~ message.content ~ '\\n' }}{% elif message.role == 'assistant' %}\
         {{ 'ASSISTANT: ' ~ message.content ~ '</s>\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    ),
    (
        "deepseek",
        "{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}\
         {% elif message.role == 'user' %}{{ '### Instruction:\\n' ~ message.content ~ '\\n' }}\
         {% elif message.role == 'assistant' %}\
         {{ '### Response:\\n' ~ message.content ~ '\\n<|EOT|>\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
    ),
    (
        "deepseek2",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ 'User: ' ~ message.content ~ '\\n\\n' }}{% elif message.role == 'assistant' %}\
         {{ 'Assistant: ' ~ message.content ~ '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    ),
    (
        "deepseek3",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ '<｜User｜>' ~ message.content }}{% elif message.role == 'assistant' %}\
         {{ '<｜Assistant｜>' ~ message.content ~ '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}",
    ),
    ("deepseek-ocr", "{% for message in messages %}{{ message.content }}{% endfor %}"),
    (
        "command-r",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' ~ (message.content | trim) ~ '<|END_OF_TURN_TOKEN|>' }}\
         {% elif message.role == 'user' %}\
         {{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' ~ (message.content | trim) ~ '<|END_OF_TURN_TOKEN|>' }}\
         {% elif message.role == 'assistant' %}\
         {{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' ~ (message.content | trim) ~ '<|END_OF_TURN_TOKEN|>' }}\
         {% endif %}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}",
    ),
    (
        "llama3",
        "{% for message in messages %}\
         {{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ (message.content | trim) ~ '<|eot_id|>' }}\
         {% endfor %}{% if add_generation_prompt %}\
         {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    ),
    (
        "chatglm3",
        "[gMASK]sop{% for message in messages %}\
         {{ '<|' ~ message.role ~ '|>\\n ' ~ message.content }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ),
    (
        "chatglm4",
        "[gMASK]<sop>{% for message in messages %}\
         {{ '<|' ~ message.role ~ '|>\\n' ~ message.content }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "glmedge",
        "{% for message in messages %}{{ '<|' ~ message.role ~ '|>\\n' ~ message.content }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ),
    (
        "minicpm",
        "{% for message in messages %}{% if message.role == 'user' %}\
         {{ '<用户>' ~ (message.content | trim) ~ '<AI>' }}{% else %}{{ message.content | trim }}\
         {% endif %}{% endfor %}",
    ),
    (
        "exaone3",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '[|system|]' ~ (message.content | trim) ~ '[|endofturn|]\\n' }}\
         {% elif message.role == 'user' %}{{ '[|user|]' ~ (message.content | trim) ~ '\\n' }}\
         {% elif message.role == 'assistant' %}\
         {{ '[|assistant|]' ~ (message.content | trim) ~ '[|endofturn|]\\n' }}{% endif %}\
         {% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}",
    ),
    (
        "exaone4",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '[|system|]' ~ (message.content | trim) ~ '[|endofturn|]\\n' }}\
         {% elif message.role == 'user' %}{{ '[|user|]' ~ (message.content | trim) ~ '\\n' }}\
         {% elif message.role == 'assistant' %}\
         {{ '[|assistant|]' ~ (message.content | trim) ~ '[|endofturn|]\\n' }}\
         {% elif message.role == 'tool' %}\
         {{ '[|tool|]' ~ (message.content | trim) ~ '[|endofturn|]\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}",
    ),
    (
        "exaone-moe",
        "{% for message in messages %}\
         {% if message.role in ['system', 'user', 'assistant', 'tool'] %}\
         {{ '<|' ~ message.role ~ '|>\\n' ~ (message.content | trim) ~ '<|endofturn|>\\n' }}\
         {% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "rwkv-world",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ 'System: ' ~ (message.content | trim) ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ 'User: ' ~ (message.content | trim) ~ '\\n\\n' }}{% if loop.last %}{{ 'Assistant:' }}\
         {% endif %}{% elif message.role == 'assistant' %}\
         {{ 'Assistant: ' ~ (message.content | trim) ~ '\\n\\n' }}{% endif %}{% endfor %}",
    ),
    (
        "granite",
        "{% for message in messages %}{{ '<|start_of_role|>' ~ message.role ~ '<|end_of_role|>' }}\
         {% if message.role == 'assistant_tool_call' %}{{ '<|tool_call|>' }}{% endif %}\
         {{ message.content ~ '<|end_of_text|>\\n' }}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
    ),
    (
        "granite-4.0",
        "{% for message in messages %}{% if message.role == 'assistant_tool_call' %}\
         {{ '<|start_of_role|>assistant<|end_of_role|><|tool_call|>' }}{% else %}\
         {{ '<|start_of_role|>' ~ message.role ~ '<|end_of_role|>' }}{% endif %}\
         {{ message.content ~ '<|end_of_text|>\\n' }}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
    ),
    (
        "granite-4.1",
        "{% for message in messages %}{% if message.role == 'assistant_tool_call' %}\
         {{ '<|start_of_role|>assistant<|end_of_role|><|tool_call|>' }}{% else %}\
         {{ '<|start_of_role|>' ~ message.role ~ '<|end_of_role|>' }}{% endif %}\
         {{ message.content ~ '<|end_of_text|>\\n' }}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
    ),
    (
        "gigachat",
        "<s>{% for message in messages %}{% if message.role == 'system' and loop.first %}\
         {{ message.content ~ '<|message_sep|>' }}{% elif message.role == 'user' %}\
         {{ 'user<|role_sep|>' ~ message.content ~ '<|message_sep|>available functions<|role_sep|>[]<|message_sep|>' }}\
         {% elif message.role == 'assistant' %}\
         {{ 'assistant<|role_sep|>' ~ message.content ~ '<|message_sep|>' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'assistant<|role_sep|>' }}{% endif %}",
    ),
    (
        "megrez",
        "{% for message in messages %}\
         {{ '<|role_start|>' ~ message.role ~ '<|role_end|>' ~ message.content ~ '<|turn_end|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|role_start|>assistant<|role_end|>' }}\
         {% endif %}",
    ),
    (
        "yandex",
        "{% for message in messages %}{% if message.role == 'user' %}\
         {{ ' Пользователь: ' ~ message.content ~ '\\n\\n' }}{% elif message.role == 'assistant' %}\
         {{ ' Ассистент: ' ~ message.content ~ '\\n\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ ' Ассистент:[SEP]' }}{% endif %}",
    ),
    (
        "bailing",
        "{% for message in messages %}\
         {{ '<role>' ~ ('HUMAN' if message.role == 'user' else message.role | upper) ~ '</role>' ~ message.content }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<role>ASSISTANT</role>' }}{% endif %}",
    ),
    (
        "bailing-think",
        "{% for message in messages %}\
         {{ '<role>' ~ ('HUMAN' if message.role == 'user' else message.role | upper) ~ '</role>' ~ message.content }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<role>ASSISTANT</role><think>' }}{% endif %}",
    ),
    (
        "bailing2",
        "{% if not messages or messages[0].role != 'system' %}\
         {{ '<role>SYSTEM</role>detailed thinking off<|role_end|>' }}{% endif %}\
         {% for message in messages %}\
         {{ '<role>' ~ ('HUMAN' if message.role == 'user' else message.role | upper) ~ '</role>' ~ message.content ~ '<|role_end|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<role>ASSISTANT</role>' }}{% endif %}",
    ),
    (
        "llama4",
        "{% for message in messages %}\
         {{ '<|header_start|>' ~ message.role ~ '<|header_end|>\\n\\n' ~ (message.content | trim) ~ '<|eot|>' }}\
         {% endfor %}{% if add_generation_prompt %}\
         {{ '<|header_start|>assistant<|header_end|>\\n\\n' }}{% endif %}",
    ),
    (
        "smolvlm",
        "<|im_start|>{% for message in messages %}{% if message.role == 'system' %}\
         {{ message.content ~ '\\n\\n' }}{% elif message.role == 'user' %}\
         {{ 'User: ' ~ message.content ~ '<end_of_utterance>\\n' }}{% else %}\
         {{ 'Assistant: ' ~ message.content ~ '<end_of_utterance>\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    ),
    (
        "hunyuan-moe",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '<|startoftext|>' ~ message.content ~ '<|extra_4|>' }}\
         {% elif message.role == 'assistant' %}{{ message.content ~ '<|eos|>' }}{% else %}\
         {{ '<|startoftext|>' ~ message.content ~ '<|extra_0|>' }}{% endif %}{% endfor %}",
    ),
    (
        "gpt-oss",
        "{% for message in messages %}\
         {{ '<|start|>' ~ message.role ~ '<|message|>' ~ message.content }}{{ '<|return|>' if message.role == 'assistant' else '<|end|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}",
    ),
    (
        "hunyuan-dense",
        "{% for message in messages %}{% if loop.first and message.role == 'system' %}\
         {{ message.content ~ '<｜hy_place▁holder▁no▁3｜>' }}{% endif %}\
         {% if message.role == 'assistant' %}\
         {{ '<｜hy_Assistant｜>' ~ message.content ~ '<｜hy_place▁holder▁no▁2｜>' }}\
         {% elif message.role == 'user' %}\
         {{ '<｜hy_User｜>' ~ message.content ~ '<｜hy_Assistant｜>' }}{% endif %}{% endfor %}",
    ),
    (
        "hunyuan-vl",
        "<｜hy_begin▁of▁sentence｜>{% for message in messages %}\
         {% if loop.first and message.role == 'system' %}\
         {{ message.content ~ '<｜hy_place▁holder▁no▁3｜>' }}{% elif message.role == 'user' %}\
         {{ message.content ~ '<｜hy_User｜>' }}{% elif message.role == 'assistant' %}\
         {{ message.content ~ '<｜hy_Assistant｜>' }}{% endif %}{% endfor %}",
    ),
    (
        "kimi-k2",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ '<|im_system|>system<|im_middle|>' }}{% elif message.role == 'user' %}\
         {{ '<|im_user|>user<|im_middle|>' }}{% elif message.role == 'assistant' %}\
         {{ '<|im_assistant|>assistant<|im_middle|>' }}{% elif message.role == 'tool' %}\
         {{ '<|im_system|>tool<|im_middle|>' }}{% endif %}{{ message.content ~ '<|im_end|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|>' }}\
         {% endif %}",
    ),
    (
        "seed_oss",
        "{% for message in messages %}{% if message.role == 'assistant' %}\
         {{ '<seed:bos>assistant\\n' ~ (message.content | trim) ~ '<seed:eos>' }}{% else %}\
         {{ '<seed:bos>' ~ message.role ~ '\\n' ~ message.content ~ '<seed:eos>' }}{% endif %}\
         {% endfor %}{% if add_generation_prompt %}{{ '<seed:bos>assistant\\n' }}{% endif %}",
    ),
    (
        "grok-2",
        "{% for message in messages %}{% if message.role == 'system' %}\
         {{ 'System: ' ~ (message.content | trim) ~ '<|separator|>\\n\\n' }}\
         {% elif message.role == 'user' %}\
         {{ 'Human: ' ~ (message.content | trim) ~ '<|separator|>\\n\\n' }}\
         {% elif message.role == 'assistant' %}\
         {{ 'Assistant: ' ~ message.content ~ '<|separator|>\\n\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    ),
    (
        "pangu-embedded",
        "{% for message in messages %}{% if loop.first and message.role != 'system' %}\
         {{ '[unused9]系统：[unused10]' }}{% endif %}{% if message.role == 'system' %}\
         {{ '[unused9]系统：' ~ message.content ~ '[unused10]' }}{% elif message.role == 'user' %}\
         {{ '[unused9]用户：' ~ message.content ~ '[unused10]' }}\
         {% elif message.role == 'assistant' %}\
         {{ '[unused9]助手：' ~ message.content ~ '[unused10]' }}{% elif message.role == 'tool' %}\
         {{ '[unused9]工具：' ~ message.content ~ '[unused10]' }}{% elif message.role == 'function' %}\
         {{ '[unused9]方法：' ~ message.content ~ '[unused10]' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '[unused9]助手：' }}{% endif %}",
    ),
    (
        "solar-open",
        "{% for message in messages %}\
         {{ '<|begin|>' ~ message.role ~ '<|content|>' ~ message.content ~ '<|end|>' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|begin|>assistant' }}{% endif %}",
    ),
];
