"""Published scores that come with the program; ``NOTICE`` says whose they are.

``tid2013.parquet`` and ``live.parquet``: the base scores and judgements of the score set ``zs-iqa``
(``datasets_manifest/scores/zs-iqa.toml``), as its tables have them, but with scores in float32.
"""
