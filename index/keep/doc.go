// Package keep decides which archives of a volume are kept: by how many there are, by
// hours, days, weeks, months and years, by age, and by label. It is arithmetic over
// archive records: it forgets nothing, and asks no clock, for a clock that is wrong must
// not cost an archive. Start reading at Rules.
package keep
