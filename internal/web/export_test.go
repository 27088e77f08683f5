package web

// OperatorRoutes lists the routes that are registered from the list.
func OperatorRoutes() (routes []string) {
	for _, r := range (&Operator{}).routes() {
		routes = append(routes, r.method+" "+r.path)
	}
	return routes
}
