// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"fmt"
	"html"
	"strings"
)

const (
	columns    = 104
	lineHeight = 18
	margin     = 16
	seconds    = 7 // how long a frame is shown
)

const style = `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#c9d1d9}
.title{fill:#8b949e}.typed{fill:#7ee787}
g{opacity:0;animation:show %[1]ds step-end infinite}
@keyframes show{0%%{opacity:1}%.2[2]f%%{opacity:0}}
@media(prefers-reduced-motion){g{animation:none}g:last-of-type{opacity:1}}
`

// picture draws the frames one after the other, in an endless loop.
func picture(frames []frame) string {
	rows := 0
	for _, f := range frames {
		rows = max(rows, len(f.lines))
	}
	width, height := 2*margin+columns*17/2, 2*margin+rows*lineHeight
	var svg strings.Builder
	fmt.Fprintf(&svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]d\" height=\"%[2]d\" viewBox=\"0 0 %[1]d %[2]d\">\n", width, height)
	svg.WriteString("<title>A terminal: a role is created, read and rotated, and its old token is revoked</title>\n<style>")
	fmt.Fprintf(&svg, style, seconds*len(frames), 100/float64(len(frames)))
	svg.WriteString("</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n")
	for i, f := range frames {
		fmt.Fprintf(&svg, "<g style=\"animation-delay:%ds\">\n", i*seconds)
		for row, line := range f.lines {
			fmt.Fprintf(&svg, "<text x=\"%d\" y=\"%d\"%s xml:space=\"preserve\">%s</text>\n",
				margin, margin+lineHeight*(row+1)-4, class(line), html.EscapeString(line))
		}
		svg.WriteString("</g>\n")
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

// wrapped breaks a line between words if the line is too long.
func wrapped(line string) (lines []string) {
	for len(line) > columns {
		at := strings.LastIndexByte(line[:columns], ' ')
		if at <= 0 {
			break
		}
		lines, line = append(lines, line[:at]), line[at+1:]
	}
	return append(lines, line)
}

// class returns the style of a line: a remark, a typed command, or output.
func class(line string) string {
	switch {
	case strings.HasPrefix(line, "# "):
		return ` class="title"`
	case strings.HasPrefix(line, "$ "):
		return ` class="typed"`
	}
	return ""
}
