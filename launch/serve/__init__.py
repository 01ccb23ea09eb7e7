"""A checkpoint behind the OpenAI protocol: `isoflop serve`.

    access     who may ask
    protocol   what the JSON of a request asks for; errors as the protocol has them
    answers    what was sampled, as the JSON of a response or of its chunks
    scores     log-probabilities of a prompt's own tokens
    engine     Engine: one batch in a thread of its own, which requests join and leave
    app        routes, streams; the server itself

It may import experiments and models. Only this package knows of HTTP, and only `app` imports aiohttp.
"""
