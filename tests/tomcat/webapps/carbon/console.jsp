<%@ page contentType="application/json" trimDirectiveWhitespaces="true" %>
<%-- Counts the visits of a session, which only the node that began it knows. --%>
<%
    Integer visits = (Integer) session.getAttribute("visits");
    visits = visits == null ? 1 : visits + 1;
    session.setAttribute("visits", visits);
    out.print("{\"node\":\"" + System.getProperty("elb.node") + "\",\"role\":\"" + System.getProperty("elb.role")
        + "\",\"visits\":" + visits + "}");
%>
