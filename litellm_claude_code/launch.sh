#!/bin/sh
# Becomes the Claude Code CLI, in an environment of the variables it needs and no others (auth.py names them), wrapped in
# what makes the kernel end it with the process that started it, where there is such a thing (launch.py).
for name in $LITELLM_CLAUDE_CODE_DROP; do
    unset "$name"
done
cli=$LITELLM_CLAUDE_CODE_CLI
wrapper=$LITELLM_CLAUDE_CODE_WRAPPER
unset LITELLM_CLAUDE_CODE_DROP LITELLM_CLAUDE_CODE_CLI LITELLM_CLAUDE_CODE_WRAPPER
exec $wrapper "$cli" "$@"
