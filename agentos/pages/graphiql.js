// GraphiQL with the explorer, over the address of this page; what is asked stands in the address, tokens never do.
const WELCOME = `# The documentation is the book at the left.
#
# Sign in, or make a token on the command line:
#   mutation { login(input: { email: "…", password: "…" })
#     { session { accessToken } } }
# Put it into the headers pane below, and reload the schema
# with the arrows at the left:
#   { "authorization": "Bearer …" }
#
# Run with Ctrl-Enter, complete with Ctrl-Space.

`;

const said = new URLSearchParams(window.location.search);

function remember(name, value) {
  if (value) said.set(name, value);
  else said.delete(name);
  const asked = said.toString();
  window.history.replaceState(null, "", asked ? `?${asked}` : window.location.pathname);
}

const place = window.location.origin + window.location.pathname;
const fetcher = GraphiQL.createFetcher({ url: place, subscriptionUrl: place.replace(/^http/, "ws") });
const explorer = GraphiQLPluginExplorer.explorerPlugin();

function Page() {
  const [query, setQuery] = React.useState(said.get("q") || WELCOME);
  const [variables, setVariables] = React.useState(said.get("variables") || undefined);

  return React.createElement(GraphiQL, {
    fetcher,
    plugins: [explorer],
    query,
    variables,
    onEditQuery: (text) => {
      setQuery(text);
      remember("q", text);
    },
    onEditVariables: (text) => {
      setVariables(text);
      remember("variables", text);
    },
    defaultEditorToolsVisibility: true,
    inputValueDeprecation: true,
    isHeadersEditorEnabled: true,
    // A token typed into the headers pane must not stay behind in the browser's storage.
    shouldPersistHeaders: false,
  });
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(React.createElement(Page));
