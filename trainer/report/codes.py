"""The codes: how evenly queries use them, and what each of them means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.report.exported import Encoded, Exported
from trainer.report.markup import Section, beside, figure, heading, items, lead, named, note, table, text
from trainer.report.pictures import colour, drawing, key, powers, svg
from trainer.report.run import Run

# Codes that are shown, of the first slot and of each other one; titles of each; codebooks that have names in a picture.
_SHOWN_FIRST, _SHOWN = 8, 4
_TITLES = 5
_SERIES = 6
# Scores of items with few events are noise: what a code is about is told by this share of them, those with the most.
_KNOWN_SHARE = 0.1
_MEANING_SAID = (
    "Of every slot, the codes that most queries have. “About” are items that the code scores higher than the slot's"
    " other codes do, an average over queries: what sets it apart from what everybody likes, told by the tenth of the"
    " catalogue with the most events. “Best” are the items that it scores highest, the head of its list. In a residual"
    " quantizer the first slot says the most; later ones correct it, and rare items may lead their lists."
)


def codes_section(run: Run, encoded: Encoded) -> Section:
    """Use of codes by the sample, and the items of the most used ones."""
    exported = run.exported
    books = [_book(encoded, exported, slot, book) for slot, book in np.ndindex(*_shape(exported))]
    meanings = [_meaning(run, encoded, slot) for slot in range(exported.space.num_slots)]
    body = [
        lead(
            f"A query becomes {exported.num_tokens} codes"
            + (" and up to " + str(encoded.events.shape[1]) + " event tokens" if encoded.events.shape[1] else "")
            + f". There are {exported.space.size:,}; the {len(encoded.keys):,} queries of the sample use"
            f" {len(np.unique(encoded.keys)):,} of them."
        ),
        beside(_use(books), _table(books)),
        heading("What codes mean"),
        note(_MEANING_SAID),
        *(_cards(slot, meaning) for slot, meaning in enumerate(meanings)),
    ]
    return Section("Codes", "".join(body), {"books": books, "slots": meanings})


def _table(books: Sequence[dict[str, Any]]) -> str:
    return table(
        ["codebook", "codewords", "used", "unused", "perplexity", "most used"],
        [
            [
                each["name"],
                f"{each['codewords']:,}",
                f"{each['used']:,}",
                f"{each['codewords'] - each['used']:,}",
                f"{each['perplexity']:,.1f}",
                f"{each['most_used_share']:.1%}",
            ]
            for each in books
        ],
    )


def _shape(exported: Exported) -> tuple[int, int]:
    return exported.space.num_slots, exported.space.num_codebooks


def slots_of(encoded: Encoded, exported: Exported) -> np.ndarray:
    """The slot of each token, `[K_u]`: tokens that share codebooks are all of slot 0."""
    return np.arange(exported.num_tokens) % exported.space.num_slots


def code_name(codes: Sequence[int], slot: int | None = None) -> str:
    """What a code is called."""
    return ("" if slot is None else f"slot {slot} ") + "code " + "·".join(map(str, codes))


def _book(encoded: Encoded, exported: Exported, slot: int, book: int) -> dict[str, Any]:
    """How one codebook is used."""
    codes = encoded.codes[:, slots_of(encoded, exported) == slot, book]
    counts = np.bincount(codes.ravel(), minlength=exported.space.num_codewords)
    name = f"slot {slot}" + (f", book {book}" if exported.space.num_codebooks > 1 else "")
    return {
        "name": name,
        "codewords": exported.space.num_codewords,
        "used": int((counts > 0).sum()),
        "perplexity": perplexity(counts),
        "most_used_share": float(counts.max() / counts.sum()),
        "counts": np.sort(counts[counts > 0])[::-1].tolist(),
    }


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy of counts: as many codes in even use would be as diverse."""
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _use(books: list[dict[str, Any]]) -> str:
    made, axes = drawing()
    for number, each in enumerate(books):
        shares = np.array(each["counts"]) / sum(each["counts"])
        label = each["name"] if len(books) <= _SERIES else None
        axes.plot(np.arange(1, len(shares) + 1), shares, color=colour(number), label=label)
    axes.axhline(1 / books[0]["codewords"], color=colour(0), linestyle=":", linewidth=1)
    if len(books) <= _SERIES:
        key(axes, columns=4)
    powers(axes.yaxis, (1, 3), "{x:.1%}")
    axes.set(xlabel="codewords, most used first", ylabel="share of tokens")
    return figure(
        svg(made, "codes-use", "Share of tokens with each codeword, the most used first"),
        "Use of codewords",
        "Share of the sample's tokens that each codeword stands for; dotted: if all were used alike.",
        "lines that lie near the dotted one over most of its width.",
        "a steep fall: a few codes stand for everybody. See the perplexities above; quantizer.revive_fraction and"
        " quantizer.balance_weight help. A small sample cannot use all codes.",
    )


def _meaning(run: Run, encoded: Encoded, slot: int) -> list[dict[str, Any]]:
    """The most used codes of a slot with their items."""
    exported = run.exported
    keys = encoded.keys[:, slots_of(encoded, exported) == slot]
    distinct, counts = np.unique(keys, return_counts=True)
    usual = usual_contributions(exported, encoded)[slot]
    known, titles = _known(run), run.parts.catalogue.title
    found = []
    for place in np.argsort(-counts, kind="stable")[: _SHOWN if slot else _SHOWN_FIRST]:
        score = exported.contributions(distinct[place : place + 1])[0]
        about = np.where(known, score - usual, -np.inf)
        best, about = (np.argsort(-values, kind="stable")[:_TITLES] for values in (score, about))
        _, codes = exported.space.decode(distinct[place])
        found.append(
            {
                "key": int(distinct[place]),
                "name": code_name(codes),
                "queries": float((keys == distinct[place]).any(axis=1).mean()),
                "about": [titles[row] for row in about if known[row] and score[row] > usual[row]],
                "best": [titles[row] for row in best if score[row] > 0],
            }
        )
    return found


def usual_contributions(exported: Exported, encoded: Encoded) -> np.ndarray:
    """What the codes of each slot add to every item, a mean over queries: `[slots, I]`."""
    usual = []
    for slot in range(exported.space.num_slots):
        distinct, counts = np.unique(encoded.keys[:, slots_of(encoded, exported) == slot], return_counts=True)
        total = np.zeros(exported.num_items)
        for part in np.array_split(np.arange(len(distinct)), -(-len(distinct) // exported.codes_at_once)):
            total += counts[part] @ exported.contributions(distinct[part])
        usual.append(total / counts.sum())
    return np.stack(usual)


def _known(run: Run) -> np.ndarray:
    """Whether each item is among the most frequent ones, `[I]`."""
    counts = np.bincount(np.concatenate(run.parts.train), minlength=len(run.parts.catalogue))
    return counts >= np.quantile(counts, 1 - _KNOWN_SHARE)


def _cards(slot: int, meaning: list[dict[str, Any]]) -> str:
    cards = "".join(
        f'<article class="card"><header><b>{text(each["name"])}</b>'
        f"<span>{each['queries']:.1%} of queries</span></header>"
        f"<h5>About</h5>{items(map(named, each['about']))}<h5>Best</h5>{items(map(named, each['best']))}</article>"
        for each in meaning
    )
    return f'<h4 class="slot">Slot {slot}</h4><div class="cards">{cards}</div>'
