"""What is typed, and what is read."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.conversation.reading import Reading, closed
from csm_chat.normalise.english import normalise
from csm_chat.normalise.marks import without_markup

NUMBERS = [
    ("I have 5 cats", "I have five cats"),
    ("0 or 1", "zero or one"),
    ("12 and 20 and 21", "twelve and twenty and twenty-one"),
    ("100 days, 101 nights", "one hundred days, one hundred and one nights"),
    ("1,234 miles", "one thousand two hundred and thirty-four miles"),
    ("1,000,000 people", "one million people"),
    ("2,340,078", "two million three hundred and forty thousand and seventy-eight"),
    ("3,000,000,000,000", "three trillion"),
    ("1.5 and 3.14", "one point five and three point one four"),
    ("0.05 or .5", "zero point zero five or point five"),
    ("1,234.5", "one thousand two hundred and thirty-four point five"),
    ("It was -3 outside", "It was minus three outside"),
    ("\u22125 or -0.5", "minus five or minus zero point five"),
    ("room 007", "room double oh seven"),
    ("code 0042", "code zero zero four two"),
    ("5551234567", "five five five one two three four five six seven"),
    ("12345678901234567890", "one two three four five six seven eight nine zero "
     "one two three four five six seven eight nine zero"),
    ("6,000 vs 6000", "six thousand versus six thousand"),
    ("I, 2, and you", "I, two, and you"),
    ("flight BA2490", "flight BA two four nine zero"),
    ("MP3, B2B, H2O, 4K", "MP three, B two B, H two O, four K"),
    ("10k followers", "ten thousand followers"),
    ("F-16 and COVID-19", "F sixteen and COVID nineteen"),
    ("a 5-year-old", "a five-year-old"),
    ("two 5s and a 6", "two fives and a six"),
    ("\u0663 and \uff15", "three and five"),
    ("1", "one"),
]  # fmt: skip
YEARS = [
    ("in 1999", "in nineteen ninety-nine"),
    ("since 1905.", "since nineteen oh five."),
    ("in 1900 and 2000", "in nineteen hundred and two thousand"),
    ("2005, 2010, 2024", "two thousand and five, twenty ten, twenty twenty-four"),
    ("in 1066", "in ten sixty-six"),
    ("the 1980s", "the nineteen eighties"),
    ("the 1980's", "the nineteen eighties"),
    ("the '90s were fun", "the 'nineties were fun"),
    ("in her 20s", "in her twenties"),
    ("1990-1995", "nineteen ninety to nineteen ninety-five"),
    ("1914\u201318", "nineteen fourteen to eighteen"),
]
ORDINALS = [
    ("1st, 2nd, 3rd, 4th", "first, second, third, fourth"),
    ("the 22nd time", "the twenty-second time"),
    ("11th, 12TH and 13th", "eleventh, twelfth and thirteenth"),
    ("the 100th", "the one hundredth"),
    ("her 30th birthday", "her thirtieth birthday"),
    ("the 1,001st night", "the one thousand and first night"),
]
TIMES = [
    ("at 10:30", "at ten thirty"),
    ("at 10:00.", "at ten o'clock."),
    ("at 9:05", "at nine oh five"),
    ("17:05 or 17:00", "seventeen oh five or seventeen hundred"),
    ("at 5 p.m. today", "at five PM today"),
    ("It is 5 p.m. Then go.", "It is five PM. Then go."),
    ("Come at 5 p.m.", "Come at five PM."),
    ("7pm, 7 PM, 7 P.M.", "seven PM, seven PM, seven PM."),
    ("10:00 a.m. sharp", "ten AM sharp"),
    ("11:59 pm", "eleven fifty-nine PM"),
    ("9am-5pm", "nine AM to five PM"),
    ("10:30-11:45", "ten thirty to eleven forty-five"),
    ("00:00", "midnight"),
    ("10 o'clock", "ten o'clock"),
    ("a run of 1:05:30", "a run of one oh five and thirty seconds"),
    ("in 16:9", "in sixteen to nine"),
]
DATES = [
    ("on 2024-05-03", "on May third, twenty twenty-four"),
    ("5/3/2024", "May third, twenty twenty-four"),
    ("12/25/99", "December twenty-fifth, nineteen ninety-nine"),
    ("25/12/2023", "December twenty-fifth, twenty twenty-three"),
    ("on 5/3", "on May third"),
    ("May 3rd", "May third"),
    ("May 3, 2024, was", "May third, twenty twenty-four, was"),
    ("3 May 2024", "the third of May, twenty twenty-four"),
    ("on the 3rd of May", "on the third of May"),
    ("Jan. 5 and Sept. 12", "January fifth and September twelfth"),
    ("Dec 24-26", "December twenty-fourth to twenty-sixth"),
    ("July 2024", "July twenty twenty-four"),
    ("I may 3 times", "I may three times"),
    ("On Tue, Jan. 2", "On Tuesday, January second"),
    ("2024-13-45", "two zero two four, one three, four five"),
]
MONEY = [
    ("$5", "five dollars"),
    ("$1", "one dollar"),
    ("$5.50", "five dollars and fifty cents"),
    ("$0.99", "ninety-nine cents"),
    ("$1.01", "one dollar and one cent"),
    ("$1,200", "one thousand two hundred dollars"),
    ("\u20ac20", "twenty euros"),
    ("20 \u20ac", "twenty euros"),
    ("\u00a33m", "three million pounds"),
    ("\u00a33.20", "three pounds and twenty pence"),
    ("$1.5 million", "one point five million dollars"),
    ("$5-10", "five to ten dollars"),
    ("50\u00a2", "fifty cents"),
    ("-$5", "minus five dollars"),
    ("a $20 bill", "a twenty dollar bill"),
    ("$20/month", "twenty dollars per month"),
    ("US$5", "five US dollars"),
    ("10 USD", "ten US dollars"),
    ("\u00a51,000", "one thousand yen"),
    ("$2bn", "two billion dollars"),
    ("\u20ac1.099,50", "one thousand and ninety-nine euros and fifty cents"),
    ("$1,000-$2,000", "one thousand to two thousand dollars"),
]
MEASURES = [
    ("5%", "five percent"),
    ("5.5 %", "five point five percent"),
    ("5-10%", "five to ten percent"),
    ("10% - 20%", "ten percent to twenty percent"),
    ("a 10-15 min. walk", "a ten to fifteen minute walk"),
    ("1 km", "one kilometer"),
    ("5 km", "five kilometers"),
    ("5-10km away", "five to ten kilometers away"),
    ("3 kg of flour", "three kilograms of flour"),
    ("60 mph", "sixty miles per hour"),
    ("100 km/h", "one hundred kilometers per hour"),
    ("20\u00b0C", "twenty degrees Celsius"),
    ("-5 \u00b0F", "minus five degrees Fahrenheit"),
    ("a 90\u00b0 turn", "a ninety degree turn"),
    ("a 5 km walk", "a five kilometer walk"),
    ("5'10\"", "five foot ten"),
    ("I'm 6'2 tall", "I'm six foot two tall"),
    ("6' tall", "six feet tall"),
    ("a 12\" pizza", "a twelve inch pizza"),
    ("He said \"I am 12\" twice", "He said \"I am twelve\" twice"),
    ("20 m\u00b2", "twenty square meters"),
    ("16 GB", "sixteen gigabytes"),
    ("2.4 GHz", "two point four gigahertz"),
    ("5 lbs, 8 oz", "five pounds, eight ounces"),
    ("1 ft, 2 ft", "one foot, two feet"),
    ("50 ms", "fifty milliseconds"),
    ("500 ml", "five hundred milliliters"),
    ("5G", "five G"),
    ("2x faster", "two times faster"),
    ("1920x1080", "nineteen twenty by ten eighty"),
    ("a 4x4", "a four by four"),
]  # fmt: skip
RELATIONS = [
    ("5-10 people", "five to ten people"),
    ("5 \u2013 10 people", "five to ten people"),
    ("They won 3-2.", "They won three to two."),
    ("a 50-50 chance", "a fifty fifty chance"),
    ("3-2-1, go", "three, two, one, go"),
    ("1/2 cup", "one half cup"),
    ("2 1/2 cups", "two and a half cups"),
    ("1\u00be cups", "one and three quarters cups"),
    ("2/3 of it", "two thirds of it"),
    ("8/10 people", "eight out of ten people"),
    ("100/7", "one hundred over seven"),
    ("24/7", "twenty-four seven"),
    ("2+2=4", "two plus two equals four"),
    ("5 - 3 = 2", "five minus three equals two"),
    ("3 x 4", "three times four"),
    ("3 \u00d7 4 \u00f7 2", "three times four divided by two"),
    ("10^6 and x\u00b2", "ten to the power of six and x squared"),
    ("5 > 3", "five is greater than three"),
    ("~20 people", "about twenty people"),
    ("18+", "eighteen plus"),
    ("v2.1", "version two point one"),
    ("version 3.10.2", "version three point ten point two"),
    ("192.168.0.1", "one ninety-two dot one sixty-eight dot zero dot one"),
    ("#5", "number five"),
    ("No. 5", "Number five"),
    ("see p. 12, fig. 3", "see page twelve, figure three"),
]
PHONES = [
    ("Call 555-1234.", "Call five five five, one two three four."),
    ("555-123-4567", "five five five, one two three, four five six seven"),
    ("(555) 123-4567", "five five five, one two three, four five six seven"),
    ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
]
ABBREVIATIONS = [
    ("Dr. Smith and Mr. Jones", "Doctor Smith and Mister Jones"),
    ("Mrs. O'Neil, Ms. Lee", "Missus O'Neil, Miz Lee"),
    ("Mr Bean", "Mister Bean"),
    ("St. Mary's", "Saint Mary's"),
    ("12 Elm St.", "twelve Elm Street."),
    ("on Elm St. near us", "on Elm Street near us"),
    ("It is on Elm St. The end", "It is on Elm Street. The end"),
    ("ask the Dr. now", "ask the Dr. now"),
    ("Prof. X", "Professor X"),
    ("tools, e.g. a saw", "tools, for example a saw"),
    ("i.e. never", "that is never"),
    ("nuts, bolts, etc.", "nuts, bolts, et cetera."),
    ("nuts, etc. are", "nuts, et cetera are"),
    ("cats vs. Dogs", "cats versus Dogs"),
    ("Acme Inc. grows", "Acme Incorporated grows"),
    ("King Jr.", "King Junior."),
    ("the U.S. and the U.K.", "the US and the UK."),
    ("J. R. Smith", "J. R. Smith"),
    ("J.R.R. Tolkien", "JRR Tolkien"),
    ("a Ph.D. in art", "a PhD in art"),
    ("w/o milk, w/ sugar", "without milk, with sugar"),
    ("approx. 5", "approximately five"),
    ("No. I won't.", "No. I won't."),
    ("NASA on TV", "NASA on TV"),
    ("STOP it NOW", "STOP it NOW"),
    ("He sat. I stood.", "He sat. I stood."),
    ("Is it in? Yes, sir.", "Is it in? Yes, sir."),
]
ROMAN = [
    ("Henry VIII", "Henry the Eighth"),
    ("Elizabeth I.", "Elizabeth the First."),
    ("Louis XIV's", "Louis the Fourteenth's"),
    ("Chapter IV", "Chapter four"),
    ("World War II", "World War Two"),
    ("Rocky III", "Rocky three"),
    ("an IV drip", "an IV drip"),
    ("I am", "I am"),
    ("Charles I know", "Charles I know"),
    ("Vitamin C and X-rays", "Vitamin C and X-rays"),
]
SYMBOLS = [
    ("me & you", "me and you"),
    ("AT&T, R&B", "AT and T, R and B"),
    ("ana@home", "ana at home"),
    ("this and/or that", "this and or that"),
    ("he/she said", "he or she said"),
    ("TCP/IP", "TCP slash IP"),
    (".NET", "dot NET"),
    ("C++ and C#", "C plus plus and C sharp"),
    ("Node.js", "Node dot js"),
    ("main.py is here", "main dot py is here"),
    ("#blessed", "hashtag blessed"),
    ("a -> b", "a to b"),
    ("5 or \u2265 6", "five or is at least six"),
    ("snake_case", "snake case"),
    ("\u00a9 2024 Acme\u2122", "twenty twenty-four Acme"),
    ("100\u20ac \u20ac", "one hundred euros euros"),
]
ADDRESSES = [
    ("https://www.example.com/", "example dot com"),
    ("See http://example.com/a-b?x=1.", "See example dot com slash a dash b."),
    ("www.example.org!", "example dot org!"),
    ("go to example.com now", "go to example dot com now"),
    ("ana.b@example.co.uk", "ana dot b at example dot co dot uk"),
    ("(http://localhost:8080)", "localhost colon eight thousand and eighty"),
]
BRACKETS = [
    ("He (the cat) left.", "He, the cat, left."),
    ("He left (yesterday).", "He left, yesterday."),
    ("(Why?) Go.", "Why? Go."),
    (
        "He (at 5 p.m.) left (with tools etc.) for me",
        "He, at five PM, left, with tools et cetera, for me",
    ),
    ("(Yes.) No.", "Yes. No."),
    ("[laughs] Hi", "laughs, Hi"),
    ("one, (two), three", "one, two, three"),
    ("a {b} c", "a, b, c"),
    ("as said [1] before", "as said before"),
    ("the cat(s)", "the cats"),
    ("She (5'10\") won", "She, five foot ten, won"),
]
MARKS = [
    ("Wow!!!", "Wow!"),
    ("What????", "What?"),
    ("What?!?!", "What?!"),
    ("Well....", "Well..."),
    ("Wait\u2026 what", "Wait... what"),
    ("so . . . yes", "so... yes"),
    ("a,b ,c", "a, b, c"),
    ("Hello.How are you?", "Hello. How are you?"),
    ("yes ,, no", "yes, no"),
    ("\u201cHi,\u201d she said", '"Hi," she said'),
    ("one \u2014 two\u2014three", "one, two, three"),
    ("one -- two - three", "one, two, three"),
    ("Paris\u2013London", "Paris-London"),
    ("But I\u2014", "But I..."),
    ("\u2014 Hello.", "Hello."),
    ("well-known", "well-known"),
    ("   many \t spaces\n", "many spaces"),
    ("", ""),
    ("?!", ""),
    ('he said\u2014"Go"', 'he said, "Go"'),
]
APOSTROPHES = [
    ("we're, we\u2019ll, I'd", "we're, we'll, I'd"),
    ("rock 'n' roll", "rock 'n' roll"),
    ("'Hello,' she said.", "Hello, she said."),
    ("the dogs' bowls", "the dogs' bowls"),
    ("'tis", "'tis"),
    ("o'clock", "o'clock"),
]
MARKDOWN = [
    ("**bold** and *it*", "bold and it"),
    ("`code` and ~~old~~", "code and old"),
    ("[the site](http://a.b/c)", "the site"),
    ("# Title\n\nText", "Title. Text"),
    ("Buy:\n- milk\n- 2 eggs", "Buy: milk. two eggs."),
    ("> quoted", "quoted"),
    ("a * b", "a b"),
    ("----------", ""),
]
EMOJI = [
    ("Hi \U0001f642!", "Hi!"),
    ("\U0001f44d\U0001f3fd ok", "ok"),
    ("family \U0001f468\u200d\U0001f469\u200d\U0001f467 here", "family here"),
    ("5\ufe0f\u20e3 stars", "five stars"),
    ("great :) really", "great really"),
    ("I <3 you ;-)", "I you"),
    ("\U0001f642", ""),
    (":D", "D"),
]
FOREIGN = [
    ("Größe, café, naïve", "Größe, café, naïve"),
    ("cafe\u0301", "café"),
    ("\u4f60\u597d", "\u4f60\u597d"),
    ("\u00bfQu\u00e9 tal?", "\u00bfQu\u00e9 tal?"),
    ("\U0001d407\U0001d422 there", "Hi there"),
    ("so\u00adft hy\u200bphen", "soft hyphen"),
]
CASES = [
    *(NUMBERS + YEARS + ORDINALS + TIMES + DATES + MONEY + MEASURES + RELATIONS + PHONES),
    *(ABBREVIATIONS + ROMAN + SYMBOLS + ADDRESSES + BRACKETS + MARKS + APOSTROPHES),
    *(MARKDOWN + EMOJI + FOREIGN),
]


@pytest.mark.parametrize(("typed", "read"), CASES)
def test_reads(typed: str, read: str) -> None:
    assert normalise(typed) == read
    assert normalise(read) == read


# what the rules look at, so that they meet
BITS = [
    *"ab NM.o5,;:!?\u2026\u2014\u2013-\"'()[]{}019\u00e9\n\t$\u20ac%\u00b0#@&+=/*_<>|~^\\`xvIVk",
    *("\u00a3\u00a2\u00b2\u00bd\U0001f642\u200d\ufe0f\u0301\u2032\u2033\u00d7\ud800\u0663"),
    *("Mr.", "St.", "e.g.", "p.m.", "U.S.", "May ", "Jan. ", "No. ", "www.", "http://", "a@b.co"),
    *("10:30", "1/2", "3rd", "'90s", "VIII", "Henry ", "Chapter ", "km", "GB", "->", "...", "--"),
    *("A$", "kr ", "Rs. ", "5'10", "1h ", "5m", "10k", "1.5M", "e23", "<b>", "</b>", "&amp;", "=="),
    *("St. ", "Mon-", "Jan", "King ", "Part I ", "X ", "C:\\", "/etc/", "192.168.0.1", "1-800-"),
    *(
        "1 000",
        "020 7946 0958",
        "(k)",
        "EST",
        " 12 Elm St.",
        ", CA 90210",
        "\x1b[1m",
        "\0",
        "\u0130",
    ),
    *("Dr ", "etc.", " vs ", " w/ ", "IV ", ":D", ":)", " - ", "\n- ", "\n# ", "```", "**", "C++"),
]
TYPED = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(BITS), max_size=14).map("".join))


@given(TYPED)
def test_what_is_read_is_words_and_plain_marks_and_reads_as_itself(typed: str) -> None:
    read = normalise(typed)
    assert normalise(read) == read
    assert read == " ".join(read.split())
    assert not set(read) & set("0123456789$\u20ac\u00a3%\u00b0#@&+=/*_<>|~^\\`()[]{}\U0001f642")


@given(TYPED)
def test_what_has_letters_is_never_emptied(typed: str) -> None:
    if any(char.isalpha() for char in without_markup(typed)):
        assert any(char.isalpha() for char in normalise(typed))


WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)


@given(st.lists(st.tuples(WORDS, st.sampled_from(["'", "\u2019"]), WORDS), min_size=1))
def test_apostrophes_in_words_stay(parts: list[tuple[str, str, str]]) -> None:
    typed = " ".join("".join(part) for part in parts)
    assert normalise(typed) == typed.replace("\u2019", "'")


@given(st.integers(0, 10**16), st.booleans())
def test_every_number_is_read_in_words(number: int, with_commas: bool) -> None:
    read = normalise(f"{number:,}" if with_commas else str(number))
    assert read.replace("-", "").replace(" ", "").isalpha()


@pytest.mark.parametrize(
    "typed",
    [
        "Dr. Smith met 1,234 people at 10:30 on May 3rd, 2024 (near St. Mary's) for $5.50. " * 120,
        *(bit * (10_000 // len(bit)) for bit in ("1", "1,", "a.", "(", " ", "\n", "- ", "1-")),
        *(bit * (10_000 // len(bit)) for bit in ("0", "$", "\u00bd", "<", "&", "==a")),
        *(bit * (10_000 // len(bit)) for bit in ("5'10", "Mon-")),
        *(bit * (10_000 // len(bit)) for bit in ("1 000 ", "/a", "St. ", "1h ", "12 Elm ", "10^")),
        *(bit * (10_000 // len(bit)) for bit in ("555-", "http://", "a@", "[a](", "<!--")),
    ],
    ids=lambda typed: repr(typed[:12]),
)  # fmt: skip
def test_ten_thousand_characters_are_read_in_no_time(typed: str) -> None:
    normalise(typed)  # characters met for the first time are looked up
    started = time.process_time()
    normalise(typed)
    assert time.process_time() - started < 1.0  # ten times what it takes, for slow machines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "Hello."),
        ("Hello,", "Hello."),
        ("Room 5 ", "Room 5."),
        ("Hello.", "Hello."),
        ("Hello!", "Hello!"),
        ("Really?", "Really?"),
        ("Well...", "Well..."),
        ('He said "yes"', 'He said "yes".'),
        ('He said "yes."', 'He said "yes."'),
        ("rock 'n'", "rock 'n'."),
        ("first:", "first:"),
        ("But I...", "But I..."),
        ("", ""),
        ("\u4f60\u597d", "\u4f60\u597d."),
    ],
)
def test_an_open_end_is_closed(text: str, expected: str) -> None:
    assert closed(text) == expected
    assert closed(expected) == expected


def test_what_cannot_be_read_is_given_to_the_model_as_it_is() -> None:
    assert Reading()("\U0001f642") == "\U0001f642"
    assert Reading()("Room 12,") == "Room twelve."
