"""Audits: alignment and scores of encoders that were trained elsewhere, on data of any kind.

``sslmem score --spec audit.yaml`` reads an audit spec (:mod:`~sslmem_kit.spec.audit`), builds each encoder from its checkpoint or by a
function of the user's, and writes a study directory that is read like any other; :func:`~sslmem_kit.run.audit.in_memory.score_encoders`
does the same for callables and arrays in memory. User code runs only there: opening the result runs none of it.
"""

from sslmem_kit.errors import require

require("torch", "timm")
