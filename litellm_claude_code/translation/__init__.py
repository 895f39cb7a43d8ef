"""Translation between OpenAI's format and the Messages API, with litellm's own translators.

`config.py` maps the parameters of a call, and `request.py` makes the request. `response.py` turns the API's events into
a response, `chunks.py` into a stream of chunks. `validation.py` has the checks of a request.
"""
