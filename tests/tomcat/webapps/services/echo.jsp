<%@ page session="false" contentType="application/json" trimDirectiveWhitespaces="true" import="java.util.*" %>
<%-- Answers what the node received, in the shape of the program's own stub node. --%>
<%!
    static String quote(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\' || c < ' ') json.append(String.format("\\u%04x", (int) c));
            else json.append(c);
        }
        return json.append('"').toString();
    }
%>
<%
    long bodyLength = 0;
    byte[] buffer = new byte[8192];
    for (int n; (n = request.getInputStream().read(buffer)) >= 0; ) bodyLength += n;

    List<String> headers = new ArrayList<>();
    for (String name : Collections.list(request.getHeaderNames()))
        for (String value : Collections.list(request.getHeaders(name)))
            headers.add("[" + quote(name) + "," + quote(value) + "]");

    String query = request.getQueryString();
    out.print("{\"node\":" + quote(System.getProperty("elb.node"))
        + ",\"role\":" + quote(System.getProperty("elb.role"))
        + ",\"method\":" + quote(request.getMethod())
        + ",\"path\":" + quote(request.getRequestURI() + (query == null ? "" : "?" + query))
        + ",\"scheme\":" + quote(request.getScheme())
        + ",\"headers\":[" + String.join(",", headers) + "]"
        + ",\"client\":" + quote(request.getRemoteAddr())
        + ",\"body_length\":" + bodyLength + "}");
%>
