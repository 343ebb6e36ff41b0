"""Writes fnmatch.csv: patterns, names, and whether Python matches them."""
import csv
import fnmatch
import itertools
import random
import sys

random.seed(1)
patterns = [
    "", "*", "**", "?", "a", "*a", "a*", "*a*", "a*b", "a?b", "disk.*", "disk.io.*", "*.util", "a.b", "cpu/*",
    "[abc]", "[!abc]", "[a-c]", "[!a-c]x", "[c-a]", "[!c-a]", "[]a]", "[!]a]", "[]-a]", "[a-]", "[-a]", "[!-a]",
    "[", "[a", "[]", "[!]", "[!", "[[]", "[[a]", "[^a]", "[a^]", "[\\]", "\\*", "[a-c-e]", "[--0]", "[a&&b]",
    "[a||b]", "[a~~b]", "[[:alpha:]]", "*[0-9]", "[0-9]*[!0-9]", "h?llo w*d", "\u00e4*", "[\u00e0-\u00ff]", "*\U0001f600?",
    "A*", "a*a*a*b", "(a|b)", "a+", "$x^", ".", "a\nb", "*b",
]
alphabet = "ab-]![*?c\u00e4"
patterns += ["".join(random.choices(alphabet, k=random.randint(1, 7))) for _ in range(400)]
names = [
    "", "a", "b", "c", "d", "A", "x", "ab", "aXb", "abc", "axb", "dx", "ax", "disk.io.rate", "disk.free", "cpu.util", "cpu/0",
    "-", "]", "[", "!", "^", "\\", "*", "\\*", ".", "/", "&", "|", "~", ":", "p]", "l", "e", "[a", "[]", "[!]", "7", "host7",
    "7x", "hello world", "\u00e4", "\u00e4b", "\u00e9", "\U0001f600a", "aaaaab", "aaaaaa", "(a|b)", "aa", "a+", "$x^", "a\nb", "a.b",
]
names += ["".join(random.choices(alphabet, k=random.randint(1, 5))) for _ in range(40)]

out = csv.writer(sys.stdout, lineterminator="\n")
for pattern, name in itertools.product(patterns, names):
    matches = fnmatch.fnmatchcase(name, pattern)
    if matches or random.random() < 0.06:
        out.writerow([pattern, name, "yes" if matches else "no"])
