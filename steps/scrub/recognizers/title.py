"""TITLE: forms of address before a name, and occupations where they name a person. The lists are ours (chosen)."""

import re
from collections.abc import Iterator, Sequence

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.letters import CAPITAL, LETTER, RECOGNIZER

ENTITY = "TITLE"
# Forms of address; those that are words of their own in another sense (Sir, Miss, Frau) need a capital.
_ADDRESS = {
    "en": (r"Mr|Mrs|Ms|Mx|Dr|Prof|Rev|Hon|Messrs", r"Mr|Mrs|Ms|Miss|Dr|Sir|Madam|Professor|Reverend"),
    "de": (r"Dr|Prof|Dipl\.-Ing|Hr|Fr", r"Herrn?|Frau|Fräulein"),
    "fr": (r"Mme|Mlle|Dr", r"Monsieur|Madame|Mademoiselle|Mme|Mlle"),
    "es": (r"Sr|Sra|Srta|Dr|Dra|Dña|Lic", r"Señor|Señora|Señorita|Don|Doña"),
}
# Last words of occupations in the major groups of the Standard Occupational Classification 2018.
_HEADS = (
    "accountant|actor|actress|actuary|adjuster|administrator|advisor|adviser|agent|aide|analyst|anchor|animator|"
    "appraiser|arborist|archaeologist|architect|archivist|artist|assembler|assessor|assistant|associate|astronomer|"
    "attendant|attorney|auctioneer|auditor|baker|banker|barber|barista|bartender|biologist|bookkeeper|bookbinder|"
    "breeder|broker|butcher|buyer|captain|caregiver|caretaker|carpenter|cashier|chaplain|chauffeur|checker|chef|"
    "chemist|chiropractor|choreographer|cinematographer|cleaner|clerk|coach|collector|composer|conductor|consultant|"
    "contractor|controller|cook|coordinator|correspondent|counselor|counsellor|courier|curator|cutter|dancer|dealer|"
    "decorator|dentist|designer|detective|developer|dietitian|director|dispatcher|doctor|drafter|dressmaker|driller|"
    "driver|echocardiographer|ecologist|economist|editor|educator|electrician|embalmer|engineer|engraver|entertainer|"
    "epidemiologist|estimator|examiner|executive|expediter|fabricator|farmer|filmmaker|finisher|firefighter|"
    "fisherman|florist|forester|foreman|gardener|geographer|geologist|glazier|grader|groomer|guard|guide|hairdresser|"
    "handler|helper|historian|housekeeper|hygienist|illustrator|inspector|installer|instructor|interpreter|"
    "interviewer|investigator|jailer|janitor|jeweler|jockey|journalist|judge|laborer|labourer|lawyer|lecturer|"
    "librarian|lifeguard|linguist|loader|locksmith|logger|machinist|magistrate|maid|manager|marketer|mason|"
    "mathematician|mechanic|mediator|merchandiser|merchant|messenger|meteorologist|midwife|millwright|miner|model|"
    "molder|mover|musician|negotiator|nurse|nutritionist|officer|operator|optician|optometrist|orderly|orthodontist|"
    "packager|packer|painter|paralegal|paramedic|pathologist|paver|performer|pharmacist|photographer|physician|"
    "physicist|pilot|planner|plasterer|plumber|podiatrist|policeman|porter|practitioner|president|presser|"
    "presenter|principal|printer|producer|professor|programmer|projectionist|proofreader|psychiatrist|psychologist|"
    "publicist|radiographer|radiologist|ranger|realtor|receptionist|recruiter|registrar|repairer|reporter|"
    "representative|researcher|rigger|roofer|runner|sailor|salesperson|sawyer|scientist|scout|secretary|server|"
    "servicer|setter|sheriff|singer|sociologist|solicitor|sonographer|specialist|statistician|steward|stonemason|"
    "strategist|stylist|superintendent|supervisor|surgeon|surveyor|tailor|taper|teacher|technician|technologist|"
    "telemarketer|teller|tester|therapist|tiler|toolmaker|trader|trainer|transcriptionist|translator|treasurer|tutor|"
    "typist|undertaker|upholsterer|usher|veterinarian|waiter|waitress|walker|warden|watchmaker|weaver|welder|worker|"
    "writer|zoologist"
)
_JOB = rf"(?:(?:{LETTER}|['/&-])+,? ){{0,6}}(?:{_HEADS})"
_SAYING = r"(?:said|says|told|wrote|writes|added|adds|asked|explained|noted|who|and)"
_OCCUPATIONS = (
    # alone on its line, as below a signature; no article, no sentence
    (rf"(?im)^(?P<value>{_JOB})[ \t\r]*$", 0.5),
    # Jane Roe, the chief pilot, said
    (rf"(?i),\s(?:the|our|an?|their|its|chief|head)\s(?P<value>{_JOB}),\s{_SAYING}\b", 0.45),
    (rf"(?i)\b(?:job title|occupation|profession|position|Beruf|profesión)\s?[:=]\s?(?P<value>{_JOB})\b", 0.8),
    (rf"(?i)\b(?:I|he|she|they) (?:works?|worked|am working|is working) as an? (?P<value>{_JOB})\b", 0.5),
)
_NO_JOB = re.compile(r"(?i)\b(?:an?|the|is|was|are|were|be|who|that|which|I|you|he|she|it|we|they|to|in|if)\b")


def forms(locales: Sequence[str]) -> Iterator[Form]:
    """Forms of address of the locales' languages, before a capital; English occupations."""
    for language in sorted({locale[:2] for locale in locales}):
        abbreviated, full = _ADDRESS[language]
        yield Form(ENTITY, rf"\b(?P<value>(?:{abbreviated})\.)\s?{CAPITAL}", 0.7, recognizer=RECOGNIZER)
        yield Form(ENTITY, rf"\b(?P<value>{full}) {CAPITAL}", 0.5, recognizer=RECOGNIZER)
    yield Form(ENTITY, r"\b(?P<value>(?:mr|mrs|ms|dr|prof)\.) [a-z]{2}", 0.5, recognizer=RECOGNIZER)
    for regex, score in _OCCUPATIONS:
        yield Form(ENTITY, regex, score, confirm=_names_a_job, recognizer=RECOGNIZER)


def _names_a_job(value: str) -> bool:
    """Whether it is a noun phrase: a sentence has one of the small words, a list of words has commas and no "and"."""
    return ("," not in value or " and " in value) and not _NO_JOB.search(value)
