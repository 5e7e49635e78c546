// Renders conversations through templates by Go's own text/template, as Ollama's server does before the model is asked:
// its variables and functions, consecutive messages of one role joined, a missing key empty.
//
// Standard input: {"cases": [{"template": text, "messages": [...], "tools": [...], "think": true | false | null}]}.
// Standard output: [{"text": ...} or {"error": ...}], one for each case.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
	"time"
)

type calledFunction struct {
	Index     int       `json:"index"`
	Name      string    `json:"name"`
	Arguments arguments `json:"arguments"`
}

type toolCall struct {
	ID       string         `json:"id"`
	Function calledFunction `json:"function"`
}

type message struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	Thinking   string     `json:"thinking"`
	Images     []string   `json:"images"`
	ToolCalls  []toolCall `json:"tool_calls"`
	ToolName   string     `json:"tool_name"`
	ToolCallID string     `json:"tool_call_id"`
}

// As JSON wherever a template writes them.
type arguments map[string]any

func (a arguments) String() string { return asJSON(map[string]any(a)) }

type tool struct {
	Type     string       `json:"type"`
	Items    any          `json:"items,omitempty"`
	Function toolFunction `json:"function"`
}

func (t tool) String() string { return asJSON(t) }

type tools []tool

func (t tools) String() string { return asJSON([]tool(t)) }

type toolFunction struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

type parameters struct {
	Type       string         `json:"type"`
	Items      any            `json:"items,omitempty"`
	Required   []string       `json:"required,omitempty"`
	Properties map[string]any `json:"properties"`
}

type conversation struct {
	Template string    `json:"template"`
	Messages []message `json:"messages"`
	Tools    tools     `json:"tools"`
	Think    *bool     `json:"think"`
}

type outcome struct {
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

func asJSON(value any) string {
	written, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(written)
}

var functions = template.FuncMap{
	"json":          asJSON,
	"currentDate":   func(...string) string { return time.Now().Format("2006-01-02") },
	"yesterdayDate": func(...string) string { return time.Now().AddDate(0, 0, -1).Format("2006-01-02") },
}

// All system messages joined, and the messages with neighbours of one role joined, results of tools apart.
func collated(given []message) (string, []*message) {
	var system []string
	var found []*message
	for i := range given {
		one := given[i]
		if one.Role == "system" {
			system = append(system, one.Content)
		}
		if last := len(found) - 1; last >= 0 && found[last].Role == one.Role && one.Role != "tool" {
			found[last].Content += "\n\n" + one.Content
			continue
		}
		found = append(found, &one)
	}
	return strings.Join(system, "\n\n"), found
}

func rendered(one conversation) (string, error) {
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(one.Template)
	if err != nil {
		return "", err
	}
	system, messages := collated(one.Messages)
	var text strings.Builder
	err = parsed.Execute(&text, map[string]any{
		"System":     system,
		"Messages":   messages,
		"Tools":      one.Tools,
		"Response":   "",
		"Think":      one.Think != nil && *one.Think,
		"ThinkLevel": "",
		"IsThinkSet": one.Think != nil,
	})
	return text.String(), err
}

func main() {
	var given struct {
		Cases []conversation `json:"cases"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	found := make([]outcome, len(given.Cases))
	for i, one := range given.Cases {
		text, err := rendered(one)
		found[i].Text = text
		if err != nil {
			found[i] = outcome{Error: err.Error()}
		}
	}
	writer := json.NewEncoder(os.Stdout)
	writer.SetEscapeHTML(false)
	if err := writer.Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
