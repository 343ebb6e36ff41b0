// Package golden holds the whole against what the original program answers: the
// golden vectors of carbonara, kind by kind. It is tests only. Where Millrace means to
// answer otherwise, differences says so, with the rule and our answer. Another file of
// the same schema is run with MILLRACE_GOLDEN=<file>.
package golden
