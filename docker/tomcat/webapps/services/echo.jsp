<%@ page session="false" contentType="application/json" trimDirectiveWhitespaces="true"
    import="java.nio.file.Files, java.nio.file.Path" %><%
    // A number in this file makes the node slow, by as many milliseconds a request.
    Path slow = Path.of("/tmp/slow");
    if (Files.exists(slow)) {
        Thread.sleep(Long.parseLong(Files.readString(slow).trim()));
    }
    long body = request.getInputStream().transferTo(java.io.OutputStream.nullOutputStream());
%>{"node":"<%= System.getProperty("node.id") %>","service":"echo","method":"<%= request.getMethod() %>","body":<%= body %>}
