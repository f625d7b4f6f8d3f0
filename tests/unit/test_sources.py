"""Citations agree with the page of sources: who, when, and under which number."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sources.md"
READ = sorted(
    path
    for folder, kinds in (("src/scorefield", ("py", "js", "html")), ("docs", ("md",)), ("benchmarks", ("py",)))
    for kind in kinds
    for path in (ROOT / folder).rglob(f"*.{kind}")
    if path != PAGE
)

NAME = r"(?:(?:van der|van den|von) )?[A-ZÀ-ÞŁŠŽ][\w’'-]+"
AUTHORS = rf"{NAME}(?:, {NAME})*(?:,? (?:&|and) {NAME}| et al\.)?"
CITED = re.compile(rf"(?<![\w“\"])({AUTHORS}),? \(?((?:1[89]|20)\d\d)([a-z]?)\b(?![-–.]\d)")
NUMBER = re.compile(r"arXiv:(?:\d{4}\.\d{4,5}|[a-z-]+/\d{7})|doi:10\.\S*[\w-]|openreview \w+")
LISTED = re.compile(r"- (?P<authors>.+?) \((?P<year>\d{4})(?P<suffix>[a-z]?)\)\. (?P<rest>.+)")


@dataclass(frozen=True)
class Source:
    """An entry of the page: the surnames in order ("et al." for more), the year and the number, if it has one."""

    names: tuple[str, ...]
    year: str
    suffix: str
    number: str

    def answers(self, names: tuple[str, ...], year: str, suffix: str) -> bool:
        """Is it this that a text means? Two surnames or more are all the authors; "et al." stands for at least two."""
        if year != self.year or suffix not in ("", self.suffix) or not self.names[0].endswith(names[0]):
            return False
        if names[-1] == "et al.":
            return len(self.names) > 2 or self.names[-1] == "et al."
        return len(names) == len(self.names) and all(
            ours.endswith(cited) for ours, cited in zip(self.names, names, strict=True)
        )


def surnames(authors: str) -> tuple[str, ...]:
    """("van den Oord", …) of "A. van den Oord, …", and of "van den Oord and …"."""
    several = re.sub(r" et al\.", ", et al.", authors)
    names = [re.sub(r"^(?:\S*[A-ZÀ-Þ]\. )*", "", name.strip()) for name in re.split(r",? (?:&|and) |, ", several)]
    return tuple(name for name in names if name)


def listed() -> list[Source]:
    found = []
    for line in PAGE.read_text().split("\n"):
        if line.startswith("- "):
            entry = LISTED.fullmatch(line)
            assert entry, f"docs/sources.md: not authors (year). title: {line}"
            number = re.search(r"\[((?:arXiv:|doi:|openreview )[^]]+)\]", entry["rest"])
            found.append(
                Source(surnames(entry["authors"]), entry["year"], entry["suffix"], number[1] if number else "")
            )
    return found


SOURCES = listed()
NUMBERED = {source.number: source for source in SOURCES if source.number}


def unknown(text: str) -> list[str]:
    """The citations of a text that no source answers to, and the numbers that stand beside another paper's authors."""
    text = re.sub(r"[\s*`]+", " ", text)
    cited = [
        (each.start(), surnames(each[1]), each[2], each[3])
        for each in CITED.finditer(NUMBER.sub(lambda found: "·" * len(found[0]), text))
        if not each[1].isupper()
    ]
    wrong = [
        f"{', '.join(names)} ({year}{suffix})"
        for _, names, year, suffix in cited
        if not any(source.answers(names[start:], year, suffix) for source in SOURCES for start in range(len(names)))
    ]
    for each in NUMBER.finditer(text):
        source = NUMBERED.get(each[0])
        before = [(names, year, suffix) for at, names, year, suffix in cited if at < each.start() < at + 400]
        if source is None:
            wrong.append(each[0])
        elif before and not any(
            source.answers(names[start:], *when) for names, *when in before for start in range(len(names))
        ):
            wrong.append(f"{each[0]} after {before[-1]}")
    return wrong


def test_who_is_cited_is_on_the_page_of_sources_with_that_year_and_number():
    wrong = {str(path.relative_to(ROOT)): found for path in READ if (found := unknown(path.read_text()))}
    assert not wrong


@pytest.mark.parametrize(
    "mistake",
    [
        "Karras et al. (2021), eq. 4",
        "Song & Ermon 2018",
        "Wang, Ermon and Song (2023)",
        "Salimans et al. 2022",
        "Karras et al. 2022, arXiv:2206.00363",
        "Efron 2011, doi:10.1162/NECO_a_00142",
        "Ho, Jain & Abbeel (2020), arXiv:2206.00364",
    ],
)
def test_a_wrong_citation_is_seen(mistake):
    assert unknown(f"As in {mistake}.")


@pytest.mark.parametrize(
    "right",
    [
        "van der Vaart (1998), theorem 5.21",
        "Alaoui and Mahoney (2015), arXiv:1411.0306",
        "Yu, Drton & Shojaie 2019, arXiv:1812.10551, and Liu, Kanamori & Williams (2022), arXiv:1910.03834",
        "Song et al. 2021b, theorem 1, arXiv:2101.09258",
    ],
)
def test_a_right_citation_is_not_seen(right):
    assert not unknown(f"As in {right}.")


def test_no_source_is_listed_twice_and_every_number_leads_to_its_address():
    page = PAGE.read_text()
    lines = [line for line in page.split("\n") if line.startswith("- ")]
    assert len(lines) == len(set(lines))
    assert len(NUMBERED) == sum(bool(source.number) for source in SOURCES)
    for kind, name, address in re.findall(r"\[(arXiv|doi):([^]]+)\]\((\S+?)\)(?=$|\n)", page):
        root = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}[kind]
        assert address == root + name.replace("(", "%28").replace(")", "%29")


def test_nothing_was_published_before_it_was_on_arxiv_by_more_than_a_year():
    for source in SOURCES:
        if posted := re.match(r"arXiv:(\d\d)\d\d\.", source.number):
            assert int(source.year) >= 2000 + int(posted[1]) - 1, source
