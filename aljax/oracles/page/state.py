"""The state that all who label share: the last batch, its answers, the run's progress. Pure functions."""

from typing import Any, NamedTuple

from aljax.oracles.base import Batch, Progress, Question
from aljax.records import journal
from aljax.records.journal import Answer

AHEAD = 3  # images after the current one that a page loads in advance


class State(NamedTuple):
    """The last batch and what became of it."""

    batch: Batch
    answers: tuple[Answer, ...]  # to files of the batch, all that the journal holds, in its order
    progress: Progress  # as last reported
    version: int  # grows with every change


class Wish(NamedTuple):
    """Describes a page's request for a question."""

    who: str = ""  # the person's name
    guess: bool = False  # the model's guess before the answer
    grid: bool = False  # all guesses that can be confirmed at once


def answered(state: State) -> dict[str, Answer]:
    """Returns the answers that stand and were given to this batch, by file."""
    standing = journal.standing(state.answers)
    return {file: one for file, one in standing.items() if one.cycle == state.batch.cycle}


def unanswered(state: State) -> list[Question]:
    """Returns the questions without an answer, in the batch's order."""
    done = answered(state)
    return [question for question in state.batch.questions if question.file not in done]


def phase(state: State) -> str:
    """Returns "asking" while a question is open; then what was reported, "training" if nothing since."""
    if unanswered(state):
        return "asking"
    return "training" if state.progress.phase == "asking" else state.progress.phase


def last_given(state: State, who: str) -> tuple[Answer, ...]:
    """Returns what a person's undo takes back: the last answers that stand, those given at once together."""
    top = {id(one) for one in answered(state).values()}
    mine = [one for one in state.answers if one.who == who and id(one) in top]
    return tuple(one for one in mine if one.time == mine[-1].time)


def guessed(question: Question) -> bool:
    """Tells whether a guess may be seen before the answer: not of images that judge the model, a bias."""
    return bool(question.guess) and question.reason != "random"


def view(state: State, wish: Wish, current: str | None, following: tuple[str, ...]) -> dict[str, Any]:
    """Returns what a page is shown, as JSON.

    Args:
      state: as it is now.
      wish: of the page.
      current: the file that this person is to label; None if there is none.
      following: files that come after it.
    """
    questions = {question.file: question for question in state.batch.questions}
    undo = last_given(state, wish.who)
    shown = {
        "version": state.version,
        "phase": phase(state),
        "cycle": state.batch.cycle if unanswered(state) else state.progress.cycle,
        "done": len(answered(state)),
        "total": len(questions),
        "file": current,
        "question": _question(questions[current], wish.guess) if current else None,
        "next": following,
        "undo": [one.file for one in undo],
        "last": _last(undo[-1], questions[undo[-1].file]) if undo else None,
        "confirmable": sum(map(guessed, unanswered(state))),
        "labeled": state.progress.labeled,
        "accuracy": state.progress.accuracy,
        "interval": state.progress.interval,
        "share": state.progress.share,
    }
    if wish.grid:
        shown["grid"] = [_question(one, True) for one in unanswered(state) if guessed(one)]
    return shown


def _question(question: Question, guess: bool) -> dict[str, Any]:
    asked = {"file": question.file, "rank": question.rank, "score": question.score, "reason": question.reason}
    hidden = question.guess and not guessed(question)
    if (guess or question.answer) and guessed(question):
        asked |= {"guess": question.guess, "probability": question.probability}
    if question.answer:
        asked |= {"answer": question.answer}
    return {**asked, "judges": bool(hidden)}


def _last(answer: Answer, question: Question) -> dict[str, Any]:
    """Returns an answer with the guess, which needs no hiding any more."""
    told = {"file": answer.file, "answer": answer.answer, "label": answer.label}
    return {**told, "guess": question.guess, "probability": question.probability}
