"""Who writes the explanations of the test recordings' incidents, and whether every number shown holds.

    python bench/explanations.py out/recordings -o bench/results/explanations.json

Claims are checked when an explanation is made; here they are counted, and so is what had to be replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from wirespeak.detect.language import LanguageDetector
from wirespeak.detect.verdicts import judge
from wirespeak.explain import find_incidents
from wirespeak.interfaces.recipe import split_of
from wirespeak.lab.labelled import read_recording


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("recordings", type=Path)
    reader.add_argument("--model")
    reader.add_argument("-o", "--output", type=Path)
    given = reader.parse_args()
    detector = LanguageDetector.load(given.model, threads=2)
    card = detector.model.card  # type: ignore[attr-defined]
    rows = []
    for folder in sorted(path.parent for path in given.recordings.glob("*/truth.csv")):
        if split_of(folder) != "test":
            continue
        flows = read_recording(folder).flows
        found = find_incidents(
            flows, judge(detector, flows), detector=detector, model=detector.model,
            evidence_floor=card["evidence_floor"], reference=card["reference"],
        )  # fmt: skip
        said = [incident.explanation for incident in found if incident.explanation]
        claims = [claim for text in said for claim in text.claims]
        by_model, replaced = (
            sum(text.sentences_by_model for text in said),
            sum(text.sentences_replaced for text in said),
        )
        rows.append(
            {
                "recording": folder.name,
                "incidents": len(found),
                "sentences": by_model + replaced,
                "by_model": by_model,
                "replaced": replaced,
                "claims": len(claims),
                "hold": sum(claim.holds for claim in claims),
                "fewest_claims": min((len(text.claims) for text in said), default=0),
            }  # fmt: skip
        )
        for incident in found:
            print(incident.label, "|", incident.explanation.text if incident.explanation else "")
    total = {
        key: sum(row[key] for row in rows)
        for key in ("incidents", "sentences", "by_model", "replaced", "claims", "hold")
    }
    print(total)
    if given.output:
        given.output.write_text(json.dumps({**total, "recordings": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
