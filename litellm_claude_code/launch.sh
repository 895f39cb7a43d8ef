#!/bin/sh
# Becomes the Claude Code CLI, in an environment of the variables it needs and no others (auth.py names them), in a session
# of its own, and ended with the Python process that started it: by the kernel where that can be asked to (launch.py),
# else by a watchdog, which looks once a second.
for name in $LITELLM_CLAUDE_CODE_DROP; do
    unset "$name"
done
cli=$LITELLM_CLAUDE_CODE_CLI
wrapper=$LITELLM_CLAUDE_CODE_WRAPPER
python=$LITELLM_CLAUDE_CODE_PYTHON
watched=$LITELLM_CLAUDE_CODE_WATCHED
signal=$LITELLM_CLAUDE_CODE_DEATH_SIGNAL
unset LITELLM_CLAUDE_CODE_DROP LITELLM_CLAUDE_CODE_CLI LITELLM_CLAUDE_CODE_WRAPPER LITELLM_CLAUDE_CODE_PYTHON \
    LITELLM_CLAUDE_CODE_WATCHED LITELLM_CLAUDE_CODE_DEATH_SIGNAL
if [ -n "$watched" ]; then
    (
        trap '' HUP INT TERM
        while kill -0 "$watched" && kill -0 $$; do sleep 1; done
        kill -0 "$watched" || kill -"$signal" $$
    ) </dev/null >/dev/null 2>&1 &
fi
if [ -n "$python" ]; then
    exec "$python" -ISc 'import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])' $wrapper "$cli" "$@"
fi
exec $wrapper "$cli" "$@"
