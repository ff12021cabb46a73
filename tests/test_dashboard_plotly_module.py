from dashboard.plotly_module import as_module, plotly_module

NOTICE = "/**\n* plotly.js v4.1.1\n*/"
SCRIPT = f"""{NOTICE}
(
 function(root, factory) {{
  if (typeof module === "object" && module.exports) {{
   module.exports = factory();
  }} else {{
   root.moduleName = factory();
  }}
}} (typeof self !== "undefined" ? self : this, () => {{
"use strict";var Plotly=(()=>{{var a=()=>{{return b();}};return a();}})();
/*! notices */
window.Plotly = Plotly;
return Plotly;
}}));"""


def test_the_functions_around_a_script_go_and_all_else_stays():
    inside = "var a=()=>{return b();};"
    assert as_module(SCRIPT) == (f"{NOTICE}\n{inside}const Plotly=a();\n/*! notices */\nwindow.Plotly = Plotly;\nexport default Plotly;\n")


def test_a_script_that_is_built_in_another_way_stays_whole():
    for other in (SCRIPT.replace("root, factory", "global, factory"), SCRIPT.replace("return a();", "return a;"), f"{SCRIPT} more()"):
        assert as_module(other) == f"{other}\nexport default window.Plotly;\n"


def test_the_installed_script_is_one_whose_functions_go():
    module = plotly_module()
    assert "factory" not in module[:1000]
    assert module.startswith("/**\n* plotly.js v")
    assert module.endswith("export default Plotly;\n")
