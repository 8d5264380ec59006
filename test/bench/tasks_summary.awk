# tasks_summary.awk: of the tables that tasks.sh wrote, one with the gain of each
# method over the reference policy; a star where the interval of each seed is
# above zero.
#
#	awk -f test/bench/tasks_summary.awk docs/tasks/results/*.md
FNR == 1 {
	task = FILENAME
	sub(/.*\//, "", task)
	sub(/\.md$/, "", task)
	tasks[++count] = task
}
/^## / { inside = $0 == "## Rewards of unseen prompts" }
inside && /\|/ && !/gain/ && !/-\+-/ {
	split($0, field, / *\| */)
	method = field[1]
	gsub(/ /, "", method)
	if (!(method in seen)) {
		seen[method] = 1
		methods[++rows] = method
	}
	split(field[8], better, " ")
	if (method == "reference")
		cell[method, task] = "reward " field[2]
	else
		cell[method, task] = sprintf("%+.4f%s", field[5],
			better[1] == better[3] ? " *" : "")
}
END {
	line = "| method |"
	rule = "|---|"
	for (t = 1; t <= count; t++) {
		line = line " [" tasks[t] "](" tasks[t] ".md) |"
		rule = rule "---|"
	}
	print line
	print rule
	for (m = 1; m <= rows; m++) {
		line = "| " methods[m] " |"
		for (t = 1; t <= count; t++)
			line = line " " cell[methods[m], tasks[t]] " |"
		print line
	}
}
