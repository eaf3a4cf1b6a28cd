//go:build tools

// Package tools pins what .ci/tools/build compiles; it is never built itself.
package tools

import _ "github.com/opentofu/opentofu/cmd/tofu"
