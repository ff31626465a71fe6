#!/bin/sh
# The `llm` command: `pip install llm`, `tabagent serve model.gguf`, `sh examples/clients/llm_tool.sh`.
set -eu
url=${1:-http://127.0.0.1:8080}
question=${2:-Say hello.}

# Where `llm` reads which models there are besides OpenAI's; a name of yours for what the server has.
models="$(dirname "$(llm logs path)")/extra-openai-models.yaml"
grep -qs "model_id: tabagent$" "$models" || cat >> "$models" <<END
- model_id: tabagent
  model_name: any
  api_base: $url/v1
  can_stream: true
END
llm --model tabagent --key none --option max_tokens 64 "$question"
