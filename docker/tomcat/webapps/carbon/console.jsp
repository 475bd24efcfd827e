<%@ page session="true" contentType="application/json" trimDirectiveWhitespaces="true" %><%
    // Counts the requests of a session, so that a session that moved to another node would be seen. The page of the
    // product that health checks look for is this one too.
    Integer seen = (Integer) session.getAttribute("seen");
    seen = seen == null ? 1 : seen + 1;
    session.setAttribute("seen", seen);
%>{"node":"<%= System.getProperty("node.id") %>","console":"About WSO2","seen":<%= seen %>}
