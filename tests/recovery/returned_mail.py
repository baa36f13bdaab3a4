"""What mail servers send back: bounces and complaints, as they write them."""

# As Postfix writes it, with the headers of the letter behind it.
BOUNCE = """\
From MAILER-DAEMON Tue Mar 10 09:00:00 2026
Return-Path: <>
Received: by mx.shop.example (Postfix) id 4B2C71F00; Tue, 10 Mar 2026 09:00:00 +0000 (UTC)
Date: Tue, 10 Mar 2026 09:00:00 +0000 (UTC)
From: MAILER-DAEMON@mx.shop.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: billing@shop.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4B2C71F00.1773133200/mx.shop.example"

This is a MIME-encapsulated message.

--4B2C71F00.1773133200/mx.shop.example
Content-Description: Notification
Content-Type: text/plain; charset=utf-8

I'm sorry to have to inform you that your message could not be delivered.

<maria@example.com>: host mx.example.com[192.0.2.7] said: 550 5.1.1 no such user

--4B2C71F00.1773133200/mx.shop.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.shop.example
X-Postfix-Queue-ID: 4B2C71F00
Arrival-Date: Tue, 10 Mar 2026 08:59:58 +0000 (UTC)

{recipients}
--4B2C71F00.1773133200/mx.shop.example
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

From: billing@shop.example
To: maria@example.com
Subject: Your payment
Message-ID: <{message}@shop.example>

--4B2C71F00.1773133200/mx.shop.example--
"""
RECIPIENT = """\
Final-Recipient: rfc822; {address}
Original-Recipient: rfc822;{original}
Action: {action}
Status: {status}
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1
    no such user
"""
# As a provider's feedback loop writes it; this one has taken the address out.
COMPLAINT = """\
From: <feedback@provider.example>
Date: Wed, 11 Mar 2026 10:00:00 +0000
Subject: FW: Your payment
To: <billing@shop.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part1"

--part1
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report.

--part1
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <billing@shop.example>
{to}Arrival-Date: Wed, 11 Mar 2026 09:00:00 +0000
Source-IP: 192.0.2.1

--part1
Content-Type: message/rfc822
Content-Disposition: inline

From: <billing@shop.example>
To: <undisclosed>
Message-ID:
 <{message}@shop.example>
Subject: Your payment
MIME-Version: 1.0
Content-type: text/plain

Text.

--part1--
"""


def recipient(
    address: str = "maria@example.com",
    *,
    action: str = "failed",
    status: str = "5.1.1",
    original: str = "",
) -> str:
    return RECIPIENT.format(
        address=address, original=original or address, action=action, status=status
    )


def bounce(*recipients: str, message: str = "case_none.1") -> bytes:
    found = "\n".join(recipients or [recipient()])
    return BOUNCE.format(recipients=found, message=message).encode()


def complaint(kind: str = "abuse", to: str = "", message: str = "case_none.1") -> bytes:
    line = f"Original-Rcpt-To: <{to}>\n" if to else ""
    return COMPLAINT.format(kind=kind, to=line, message=message).encode()
