"""The other scores of a study: what each says, and how they agree; one file a comparison beside this one."""

from sslmem_kit.report.comparisons.build import as_json as as_json
from sslmem_kit.report.comparisons.build import as_text as as_text
